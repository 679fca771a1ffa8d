"""Many images: what happens when one fails, what stops all, and what works at the same time."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from small_images import assert_negative, names_in, put
from unpaired.errors import RunError, TooLarge
from unpaired.images.formats import read_image, write_image
from unpaired.images.image import Image, to_signed
from unpaired.translation import files
from unpaired.translation.files import translate_files

# ---- failures of single images ----------------------------------------------------------------


def test_one_bad_image_does_not_stop_the_others(model, photos, out):
    for k in range(12):
        put(photos / f"{k:02d}.png", seed=k)
    whole = (photos / "03.png").read_bytes()
    (photos / "03.png").write_bytes(whole[: len(whole) // 2])
    (photos / "05.png").write_text("no image")
    (photos / "07.png").write_bytes(b"")
    put(photos / "08.tif", bands=5, size=(8, 8))
    (photos / "photo").write_bytes(whole)
    summary = translate_files(model, [photos, photos / "photo"], out, to="b", batch_size=3)
    failed = {path.name: reason for path, reason in summary.failed}
    assert failed.keys() == {"03.png", "05.png", "07.png", "08.tif", "photo"}
    assert "damaged or cut off" in failed["03.png"]
    assert failed["05.png"].startswith("not an image")
    assert failed["07.png"] == "the file is empty"
    assert failed["08.tif"].startswith("has 5 bands where summer has 3")
    assert "--format" in failed["photo"]
    assert names_in(out) == {f"{k:02d}.png" for k in range(12) if k not in (3, 5, 7)}
    assert len(summary.done) == 9


def test_an_image_that_becomes_nan_fails_alone(model, inverters, photos, out, monkeypatch):
    for k in range(3):
        put(photos / f"{k}.png", seed=k)
    write_image(photos / "white.png", Image(np.full((8, 8, 3), 255, np.uint8)))
    usual = inverters[-1].translate

    def broken(images, direction):
        result = usual(images, direction)
        result[(images == 1).all(axis=(1, 2, 3))] = np.nan
        return result

    monkeypatch.setattr(inverters[-1], "translate", broken)
    summary = translate_files(model, [photos], out, to="b")
    ((path, reason),) = summary.failed
    assert (path.name, len(summary.done)) == ("white.png", 3)
    assert "give NaN or infinity for it" in reason
    assert names_in(out) == {"0.png", "1.png", "2.png"}


def test_an_image_beyond_the_limits_fails_alone(model, photos, out, monkeypatch):
    put(photos / "a.png")
    put(photos / "b.png", size=(40, 30))
    summary = translate_files(model, [photos], out, to="b", max_pixels=1000)
    ((path, reason),) = summary.failed
    assert path.name == "b.png"
    assert "--max-pixels" in reason
    decoded = []
    monkeypatch.setattr(files, "read_image", lambda path, **k: decoded.append(path))
    monkeypatch.setattr("unpaired.translation.memory.fits", lambda needed: False)
    summary = translate_files(model, [photos / "b.png"], out, to="b")
    assert decoded == summary.done == []
    assert summary.failed[0][1].startswith("30 x 40 pixels need about")


def test_memory_that_runs_out_in_a_batch_is_asked_of_each(inverters, model, photos, out):
    for k in range(6):
        put(photos / f"{k}.png", seed=k)
    translate = inverters[-1].translate
    dear = to_signed(read_image(photos / "4.png").pixels)

    def scarce(images, direction):
        if len(images) > 1 or np.array_equal(images[0], dear):
            raise TooLarge("the device has too little memory")
        return translate(images, direction)

    inverters[-1].translate = scarce
    summary = translate_files(model, [photos], out, to="b")
    assert [path.name for path, _ in summary.failed] == ["4.png"]
    assert len(summary.done) == 5


def test_georeferencing_that_is_lost_is_told_once(model, photos, out, caplog):
    pixels = np.full((8, 8, 3), 77, np.uint8)
    tags = {"a": {33550: (2.0, 2.0, 0.0)}, "b": {42113: "0"}, "c": {34264: (1.0,) * 16}, "d": {}}
    photos.mkdir()
    for name, tag in tags.items():
        PIL.Image.fromarray(pixels).save(photos / f"{name}.tif", tiffinfo=tag)
    (photos / "c.tif").write_bytes((photos / "c.tif").read_bytes()[:-20])  # it fails, and is named
    summary = translate_files(model, [photos], out, to="b", format="png")
    assert len(summary.done) == 3
    (line,) = [r.getMessage() for r in caplog.records if r.name == "unpaired"]
    assert line.startswith("2 images had georeferencing")
    assert "is not in the output" in line
    caplog.clear()
    translate_files(model, [photos / "d.tif"], out, to="b", overwrite=True)
    assert caplog.records == []


def test_the_time_left_is_not_estimated_by_the_first_image(
    inverters, model, photos, out, monkeypatch, shown
):
    for k in range(12):
        put(photos / f"{k:02d}.png", seed=k)
    (photos / "03.png").write_bytes(b"")
    for k in range(4):
        put(out / f"{k:02d}.png")  # these fail before any work
    now, translate = [0.0], inverters[-1].translate

    def compiling(images, direction):
        now[0] += 2.5 if inverters[-1].shapes else 600
        return translate(images, direction)

    monkeypatch.setattr("unpaired.console.time.monotonic", lambda: now[0])
    monkeypatch.setattr("unpaired.console.LINE_EVERY", 0)
    inverters[-1].translate = compiling
    assert len(translate_files(model, [photos], out, to="b", batch_size=1).done) == 8
    lines = shown().splitlines()
    assert lines[0] == "images 5/12"
    assert lines[-1].startswith("images 12/12, 0.")
    left = [line.split(", ")[2] for line in lines if "left" in line]
    assert left[0].endswith(" s left")
    assert len(left) >= 6


@pytest.mark.parametrize("slow", ["decoding", "encoding", "the network"])
def test_who_waits_for_whom(inverters, model, photos, out, monkeypatch, caplog, slow):
    for k in range(6):
        put(photos / f"{k}.png", seed=k)

    def taking_time(name, call):
        def stage(*given, **more):
            time.sleep(0.05 if name == slow else 0)
            return call(*given, **more)

        return stage

    pixels = np.zeros((8, 8, 3), np.uint8)  # nothing else takes time: no disk, no decoder
    read = taking_time("decoding", lambda *_, **__: Image(pixels))
    write = taking_time("encoding", lambda path, *_, **__: path.write_bytes(b"x"))
    translate = taking_time("the network", inverters[-1].translate)
    monkeypatch.setattr(files, "read_image", read)
    monkeypatch.setattr(files, "write_image", write)
    monkeypatch.setattr(inverters[-1], "translate", translate)
    monkeypatch.setattr(files, "_LONG", 1e9)
    caplog.set_level("DEBUG", "unpaired")
    assert len(translate_files(model, [photos], out, to="b", batch_size=1).done) == 6
    (record,) = [r for r in caplog.records if "the network was busy" in r.getMessage()]
    busy, decoding, encoding = map(int, re.findall(r"(\d+)%", record.getMessage()))
    shares = {"the network": busy, "decoding": decoding, "encoding": encoding}
    assert max(shares, key=shares.get) == slow
    assert sum(shares.values()) <= 101
    assert record.levelname == "DEBUG"


def test_much_waiting_is_told(caplog):
    caplog.set_level("INFO", "unpaired")
    files._tell_waiting({"the network": 9.5, "decoding": 0.5, "encoding": 0.0}, 20.0)
    files._tell_waiting({"the network": 0.5, "decoding": 0.5, "encoding": 0.0}, 1.0)
    assert caplog.records == []
    files._tell_waiting({"the network": 9.5, "decoding": 0.5, "encoding": 10.0}, 20.0)
    (record,) = caplog.records
    assert record.getMessage() == (
        "the network was busy 48% of the time and waited 2% for decoding and 50% for encoding"
    )


# ---- batches, threads, memory -------------------------------------------------------------------


def test_images_of_one_size_go_together(inverters, model, photos, out):
    for k in range(10):
        put(photos / f"{k}.png", size=(8, 8) if k % 2 else (8, 12), seed=k)
    translate_files(model, [photos], out, to="b", batch_size=4)
    assert max(shape[0] for shape in inverters[-1].shapes) == 2
    assert sum(shape[0] for shape in inverters[-1].shapes) == 10
    for k in range(10):
        assert_negative(out / f"{k}.png", photos / f"{k}.png")


def test_the_next_images_are_decoded_while_the_network_works(
    inverters, model, photos, out, monkeypatch
):
    for k in range(6):
        put(photos / f"{k}.png", seed=k)
    begun = {k: threading.Event() for k in range(6)}
    read, translate = files.read_image, inverters[-1].translate

    def reading(path, **options):
        begun[int(path.stem)].set()
        return read(path, **options)

    def waiting(images, direction):
        step = len(inverters[-1].shapes)
        assert step == 5 or begun[step + 1].wait(10), "the next was not decoded meanwhile"
        assert not any(begun[k].is_set() for k in range(step + 2, 6)), "too far ahead"
        return translate(images, direction)

    monkeypatch.setattr(files, "read_image", reading)
    inverters[-1].translate = waiting
    assert len(translate_files(model, [photos], out, to="b", batch_size=1).done) == 6


def test_few_images_are_held_at_once(model, photos, out, monkeypatch):
    for k in range(40):
        put(photos / f"{k:02d}.png", seed=k)
    lock, held, most = threading.Lock(), [0], [0]
    read, write = files.read_image, files.write_image

    def count(change):
        with lock:
            held[0] += change
            most[0] = max(most[0], held[0])

    def reading(path, **options):
        count(1)
        return read(path, **options)

    def writing(path, image, **options):
        time.sleep(0.002)
        write(path, image, **options)
        if path.parent == out:
            count(-1)

    monkeypatch.setattr(files, "read_image", reading)
    monkeypatch.setattr(files, "write_image", writing)
    assert len(translate_files(model, [photos], out, to="b", batch_size=4).done) == 40
    assert most[0] <= 3 * 4
    assert held[0] == 0


def test_large_images_come_one_by_one(inverters, model, photos, out, monkeypatch):
    for k in range(3):
        put(photos / f"{k}.png", seed=k)
    monkeypatch.setattr(files, "_GROUP_PIXELS", 100)
    assert len(translate_files(model, [photos], out, to="b").done) == 3
    assert [shape[0] for shape in inverters[-1].shapes] == [1, 1, 1]


# ---- the system denies -------------------------------------------------------------------------


def test_a_name_that_is_too_long_fails_alone(model, photos, out):
    for k, name in enumerate(["a.jpg", "b" * 251 + ".jpg", "c.jpg"]):
        put(photos / name, seed=k)
    summary = translate_files(model, [photos], out, to="b", format="webp", batch_size=1)
    assert names_in(out) == {"a.webp", "c.webp"}
    assert {*summary.done} == {out / "a.webp", out / "c.webp"}
    ((path, reason),) = summary.failed
    assert path.name == "b" * 251 + ".jpg"
    assert os.strerror(errno.ENAMETOOLONG) in reason


def test_a_full_disk_stops_at_once(inverters, model, photos, out, monkeypatch):
    for k in range(20):
        put(photos / f"{k:02d}.png", seed=k)
    replace = os.replace

    def full(source, target):
        if Path(target).name >= "02":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("unpaired.storage.os.replace", lambda *paths: full(*paths))
    monkeypatch.setattr(files, "try_writing", lambda *a: None)
    with pytest.raises(RunError, match="the disk is full"):
        translate_files(model, [photos], out, to="b", batch_size=2)
    assert names_in(out) == {"00.png", "01.png"}
    assert sum(shape[0] for shape in inverters[-1].shapes) <= 6


def test_a_full_disk_is_known_before_the_work(inverters, model, photos, out, monkeypatch):
    put(photos / "a.png")

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unpaired.storage.os.replace", full)
    with pytest.raises(RunError, match="the disk is full"):
        translate_files(model, [photos], out, to="b")
    assert inverters[-1].shapes == []
    assert names_in(out) == set()


def test_out_is_a_file(model, photos, out):
    put(photos / "a.png")
    out.write_text("")
    with pytest.raises(RunError, match="a part of it is a file"):
        translate_files(model, [photos], out, to="b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_may_not_be_written(model, photos, out):
    put(photos / "a.png")
    out.mkdir(mode=0o500)
    with pytest.raises(RunError, match="permission denied"):
        translate_files(model, [photos], out, to="b")


INTERRUPTED = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[4], str(Path(sys.argv[4]).parent)]
from conftest import Inverter
import unpaired
import unpaired.engines.loading
from unpaired.translation.files import translate_files

class Slow(Inverter):
    def translate(self, images, direction):
        time.sleep(0.1)
        return super().translate(images, direction)

unpaired.engines.loading.make_translator = Slow
model = unpaired.load(sys.argv[1])
print("ready", flush=True)
translate_files(model, [Path(sys.argv[2])], sys.argv[3], to="b", batch_size=2)
"""


def test_an_interrupt_leaves_whole_files(model_file, photos, out):
    for k in range(60):
        put(photos / f"{k:02d}.png", seed=k)
    here = str(Path(__file__).parent)
    words = [sys.executable, "-c", INTERRUPTED, model_file(), photos, out, here]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 20
        while not (out.is_dir() and len(names_in(out)) >= 4) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in errors
    left = names_in(out)
    assert 4 <= len(left) < 60
    for name in left:
        assert_negative(out / name, photos / name)
