"""Files and folders: what is found, where it goes, what is refused, what goes on regardless."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from unpaired.data.image import Image, read_header, read_image, to_signed, write_image
from unpaired.errors import ConfigError, DataError, MissingExtra, RunError
from unpaired.translation import pictures
from unpaired.translation.model import load
from unpaired.translation.pictures import translate_files


def noise(height: int, width: int, bands: int = 3, dtype: type = np.uint8, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (height, width, bands), dtype)


def put(path: Path, *, size=(8, 8), seed=0, dtype=np.uint8, bands=3, alpha=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, Image(noise(*size, bands, dtype, seed), alpha))
    return path


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture
def model(inverters, model_file):
    return load(model_file(), device="cpu", threads=1)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def photos(tmp_path):
    return tmp_path / "photos"


def assert_negative(target: Path, source: Path) -> None:
    np.testing.assert_array_equal(read_image(target).pixels, 255 - read_image(source).pixels)


# ---- what is found, and where it goes -----------------------------------------------------------


def test_a_folder_keeps_its_tree_names_and_formats(model, photos, out):
    sources = [
        put(photos / name, seed=k, size=(5 + k, 9))
        for k, name in enumerate(["a.png", "sub/B.PNG", "sub/deep/c.webp", "d.bmp", "e.tif"])
    ]
    put(photos / "f.jpeg", size=(16, 16))
    (photos / "notes.txt").write_text("no picture")
    (photos / ".hidden.png").write_text("no picture")
    told = []
    summary = translate_files(
        model, [photos], out, to="winter", progress=lambda *counts: told.append(counts)
    )
    assert summary.failed == []
    assert files(out) == {
        "a.png", "sub/B.PNG", "sub/deep/c.webp", "d.bmp", "e.tif", "f.jpeg"
    }  # fmt: skip
    assert sorted(path.relative_to(out).as_posix() for path in summary.done) == sorted(files(out))
    for source in sources:
        assert_negative(out / source.relative_to(photos), source)
    assert read_header(out / "f.jpeg").format == "JPEG"
    assert told[-1] == (6, 6)
    assert told == sorted(told)


def test_files_patterns_and_folders_together(model, photos, out, monkeypatch):
    for name in ("a.png", "b.png", "x/1.png", "x/y/2.png", "x/y/2.txt", "z/c.jpg", "[d].png"):
        put(photos / name) if not name.endswith("txt") else (photos / name).write_text("")
    inputs = [photos / "a.png", f"{photos}/x/**/*", str(photos / "z"), f"{photos}/[d].png"]
    assert translate_files(model, inputs, out, to="b").failed == []
    assert files(out) == {"a.png", "1.png", "y/2.png", "c.jpg", "[d].png"}
    monkeypatch.chdir(photos)
    assert translate_files(model, ["*.png", "x/?/*"], "here", to="b").failed == []
    assert files(photos / "here") == {"a.png", "b.png", "[d].png", "y/2.png"}


def test_the_same_picture_given_twice_is_translated_once(model, photos, out):
    source = put(photos / "a.png")
    summary = translate_files(model, [photos, source, f"{photos}/*.png"], out, to="b")
    assert summary.done == [out / "a.png"]
    (photos.parent / "link").symlink_to(photos)
    again = translate_files(model, [photos, photos.parent / "link"], out, to="b", overwrite=True)
    assert again.done == [out / "a.png"]


def test_out_below_an_input_folder_is_not_translated_again(model, photos):
    put(photos / "a.png")
    out = photos / "results"
    for _ in range(2):
        translate_files(model, [photos, f"{photos}/**/*.png"], out, to="b", overwrite=True)
    assert files(photos) == {"a.png", "results/a.png"}


def test_format_changes_suffixes_unless_they_mean_the_same(model, photos, out):
    for name in ("a.png", "b.JPEG", "c.d.webp"):
        put(photos / name)
    assert translate_files(model, [photos], out, to="b", format="jpg").failed == []
    assert files(out) == {"a.jpg", "b.JPEG", "c.d.jpg"}
    assert read_header(out / "a.jpg").format == "JPEG"
    for name in ("png", "webp", "tiff", "bmp"):
        translate_files(model, [photos / "a.png"], out / name, to="b", format=name)
        assert_negative(out / name / f"a.{name}", photos / "a.png")
    with pytest.raises(ConfigError, match="--format is 'gif'"):
        translate_files(model, [photos], out, to="b", format="gif")


def test_transparency_and_16_bits_go_through_files(inverters, model_file, photos, out):
    alpha = noise(9, 7, 1, seed=4)[:, :, 0]
    put(photos / "clear.png", size=(9, 7), alpha=alpha)
    model = load(model_file(bands_b=1, depth_b=16), device="cpu")
    put(photos / "grey.png", size=(5, 5), bands=1, dtype=np.uint16)
    summary = translate_files(model, [photos / "grey.png"], out, to="b")
    assert summary.failed == []
    np.testing.assert_array_equal(
        read_image(out / "grey.png").pixels, 65535 - read_image(photos / "grey.png").pixels
    )
    translate_files(load(model_file(), device="cpu"), [photos / "clear.png"], out, to="b")
    np.testing.assert_array_equal(read_image(out / "clear.png").alpha, alpha)


# ---- refused before anything is written ---------------------------------------------------------


def test_nothing_found_is_refused(model, photos, out):
    photos.mkdir()
    (photos / "notes.txt").write_text("")
    for inputs in ([photos], [f"{photos}/*.png"], [photos / "not-there.png"], []):
        with pytest.raises(DataError, match="no pictures in"):
            translate_files(model, inputs, out, to="b")
    assert not out.exists()


def test_what_is_missing_beside_others_is_listed(model, photos, out):
    put(photos / "a.png")
    (photos / "empty").mkdir()
    missing = [photos / "b.png", photos / "empty", f"{photos}/*.jpg"]
    summary = translate_files(model, [photos / "a.png", *missing], out, to="b")
    assert summary.done == [out / "a.png"]
    assert summary.failed == [
        (missing[0], "not there"),
        (missing[1], "no pictures in it"),
        (Path(missing[2]), "no picture matches"),
    ]


def test_two_pictures_of_one_target_are_refused(model, photos, out):
    put(photos / "x/a.png")
    put(photos / "y/a.png")
    put(photos / "x/a.jpg")
    with pytest.raises(DataError, match=r"x/a\.png and .*y/a\.png would both become .*out/a\.png"):
        translate_files(model, [photos / "x", photos / "y"], out, to="b")
    with pytest.raises(DataError, match="without --format"):
        translate_files(model, [photos / "x"], out, to="b", format="png")
    assert not out.exists()
    assert len(translate_files(model, [photos], out, to="b").done) == 3


def test_an_input_is_not_replaced_unless_asked(model, photos):
    source = put(photos / "a.png")
    before = source.read_bytes()
    with pytest.raises(DataError, match=r"a\.png is itself an input.*--overwrite"):
        translate_files(model, [photos], photos, to="b")
    (photos.parent / "link").symlink_to(photos)
    with pytest.raises(DataError, match="is itself an input"):
        translate_files(model, [photos], photos.parent / "link", to="b")
    assert source.read_bytes() == before
    shutil.copy(source, copy := photos.parent / "copy.png")
    translate_files(model, [photos], photos, to="b", overwrite=True)
    assert_negative(source, copy)


def test_no_picture_replaces_another_input(model, photos):
    put(photos / "p/a.png", seed=1)
    put(photos / "q/p/a.png", seed=2)
    before = (photos / "p/a.png").read_bytes()
    # q/p/a.png would become p/a.png in `photos`, which is still to be read.
    with pytest.raises(DataError, match=r"p/a\.png is itself an input: choose another --out$"):
        translate_files(model, [photos / "q", photos / "p"], photos, to="b", overwrite=True)
    assert (photos / "p/a.png").read_bytes() == before


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_a_format_that_cannot_hold_the_results_is_refused(
    inverters, model_file, photos, out, suffix
):
    put(photos / f"a{suffix}")
    for kind in ({"depth_b": 16}, {"bands_b": 5}):
        model = load(model_file(**kind), device="cpu")
        with pytest.raises(ConfigError, match=rf"a {suffix} file cannot hold.*--format tiff"):
            translate_files(model, [photos], out, to="b")
        assert inverters[-1].shapes == []
        assert files(out) == set()


def test_many_bands_go_into_tiff(inverters, model_file, photos, out, monkeypatch):
    pytest.importorskip("rasterio")
    put(photos / "a.png")
    model = load(model_file(bands_b=5, depth_b=16), device="cpu")
    translate_files(model, [photos], out, to="b", format="tiff")
    assert read_image(out / "a.tiff").pixels.shape == (8, 8, 5)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtra, match=r"unpaired\[geo\]"):
        translate_files(model, [photos], out, to="b", format="tiff", overwrite=True)


def test_values_out_of_range_are_refused(model, photos, out):
    put(photos / "a.png")
    with pytest.raises(ConfigError, match="--batch-size is 0"):
        translate_files(model, [photos], out, to="b", batch_size=0)
    with pytest.raises(ConfigError, match="--working-size is 5"):
        translate_files(model, [photos], out, to="b", working_size=5)
    with pytest.raises(ConfigError, match="no domain 'autumn'"):
        translate_files(model, [photos], out, to="autumn")
    assert not out.exists()


# ---- nothing outside, nothing replaced ----------------------------------------------------------


def test_an_existing_file_stays_unless_asked(model, photos, out):
    put(photos / "a.png")
    put(photos / "b.png")
    put(out / "a.png", seed=9)
    before = (out / "a.png").read_bytes()
    summary = translate_files(model, [photos], out, to="b")
    assert summary.done == [out / "b.png"]
    ((path, reason),) = summary.failed
    assert path == photos / "a.png"
    assert "exists already: --overwrite" in reason
    assert (out / "a.png").read_bytes() == before
    assert len(translate_files(model, [photos], out, to="b", overwrite=True).done) == 2
    assert_negative(out / "a.png", photos / "a.png")


def test_links_in_out_lead_nowhere_else(model, photos, out, tmp_path):
    put(photos / "sub/a.png")
    put(photos / "b.png")
    elsewhere = tmp_path / "elsewhere"
    kept = put(elsewhere / "b.png", seed=5)
    before = kept.read_bytes()
    out.mkdir()
    (out / "sub").symlink_to(elsewhere)
    (out / "b.png").symlink_to(kept)
    summary = translate_files(model, [photos], out, to="b", overwrite=True)
    ((path, reason),) = summary.failed
    assert path == photos / "sub/a.png"
    assert "outside" in reason
    assert files(elsewhere) == {"b.png"}
    assert kept.read_bytes() == before
    assert not (out / "b.png").is_symlink()
    assert_negative(out / "b.png", photos / "b.png")


def test_a_pattern_with_a_step_up_stays_in_out(model, photos, out):
    put(photos / "a.png")
    put(photos / "sub/b.png")
    translate_files(model, [f"{photos}/s*/../a.png"], out / "deep", to="b")
    assert files(out) == {"deep/a.png"}


def test_a_folder_of_the_name_of_a_target(model, photos, out):
    put(photos / "a.png")
    put(photos / "b.png")
    (out / "a.png").mkdir(parents=True)
    summary = translate_files(model, [photos], out, to="b", overwrite=True)
    assert summary.done == [out / "b.png"]
    assert summary.failed == [(photos / "a.png", f"{out}/a.png is a folder")]


# ---- failures of single pictures ----------------------------------------------------------------


def test_one_bad_picture_does_not_stop_the_others(model, photos, out):
    for k in range(12):
        put(photos / f"{k:02d}.png", seed=k)
    whole = (photos / "03.png").read_bytes()
    (photos / "03.png").write_bytes(whole[: len(whole) // 2])
    (photos / "05.png").write_text("no picture")
    (photos / "07.png").write_bytes(b"")
    put(photos / "08.tif", bands=5, size=(8, 8))
    (photos / "photo").write_bytes(whole)
    summary = translate_files(model, [photos, photos / "photo"], out, to="b", batch_size=3)
    failed = {path.name: reason for path, reason in summary.failed}
    assert failed.keys() == {"03.png", "05.png", "07.png", "08.tif", "photo"}
    assert "damaged or cut off" in failed["03.png"]
    assert failed["05.png"].startswith("not a picture")
    assert failed["07.png"] == "the file is empty"
    assert failed["08.tif"].startswith("has 5 bands where summer has 3")
    assert "--format" in failed["photo"]
    assert files(out) == {f"{k:02d}.png" for k in range(12) if k not in (3, 5, 7)}
    assert len(summary.done) == 9


def test_a_picture_beyond_the_limits_fails_alone(model, photos, out, monkeypatch):
    put(photos / "a.png")
    put(photos / "b.png", size=(40, 30))
    summary = translate_files(model, [photos], out, to="b", max_pixels=1000)
    ((path, reason),) = summary.failed
    assert path.name == "b.png"
    assert "--max-pixels" in reason
    decoded = []
    monkeypatch.setattr(pictures, "read_image", lambda path, **k: decoded.append(path))
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
            raise RuntimeError("CUDA out of memory")
        return translate(images, direction)

    inverters[-1].translate = scarce
    summary = translate_files(model, [photos], out, to="b")
    assert [path.name for path, _ in summary.failed] == ["4.png"]
    assert len(summary.done) == 5


# ---- batches, threads, memory -------------------------------------------------------------------


def test_pictures_of_one_size_go_together(inverters, model, photos, out):
    for k in range(10):
        put(photos / f"{k}.png", size=(8, 8) if k % 2 else (8, 12), seed=k)
    translate_files(model, [photos], out, to="b", batch_size=4)
    assert max(shape[0] for shape in inverters[-1].shapes) == 2
    assert sum(shape[0] for shape in inverters[-1].shapes) == 10
    for k in range(10):
        assert_negative(out / f"{k}.png", photos / f"{k}.png")


def test_the_next_pictures_are_decoded_while_the_network_works(
    inverters, model, photos, out, monkeypatch
):
    for k in range(6):
        put(photos / f"{k}.png", seed=k)
    begun = {k: threading.Event() for k in range(6)}
    read, translate = pictures.read_image, inverters[-1].translate

    def reading(path, **options):
        begun[int(path.stem)].set()
        return read(path, **options)

    def waiting(images, direction):
        step = len(inverters[-1].shapes)
        assert step == 5 or begun[step + 1].wait(10), "the next was not decoded meanwhile"
        assert not any(begun[k].is_set() for k in range(step + 2, 6)), "too far ahead"
        return translate(images, direction)

    monkeypatch.setattr(pictures, "read_image", reading)
    inverters[-1].translate = waiting
    assert len(translate_files(model, [photos], out, to="b", batch_size=1).done) == 6


def test_few_pictures_are_held_at_once(model, photos, out, monkeypatch):
    for k in range(40):
        put(photos / f"{k:02d}.png", seed=k)
    lock, held, most = threading.Lock(), [0], [0]
    read, write = pictures.read_image, pictures.write_image

    def count(change):
        with lock:
            held[0] += change
            most[0] = max(most[0], held[0])

    def reading(path, **options):
        count(1)
        return read(path, **options)

    def writing(path, image):
        time.sleep(0.002)
        write(path, image)
        if path.parent == out:
            count(-1)

    monkeypatch.setattr(pictures, "read_image", reading)
    monkeypatch.setattr(pictures, "write_image", writing)
    assert len(translate_files(model, [photos], out, to="b", batch_size=4).done) == 40
    assert most[0] <= 3 * 4
    assert held[0] == 0


# ---- the system refuses -------------------------------------------------------------------------


def test_a_full_disk_stops_at_once(inverters, model, photos, out, monkeypatch):
    for k in range(20):
        put(photos / f"{k:02d}.png", seed=k)
    replace = os.replace

    def full(source, target):
        if Path(target).name >= "02":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("unpaired.storage.os.replace", lambda *paths: full(*paths))
    monkeypatch.setattr(pictures, "_try_writing", lambda *a: None)
    with pytest.raises(RunError, match="the disk is full"):
        translate_files(model, [photos], out, to="b", batch_size=2)
    assert files(out) == {"00.png", "01.png"}
    assert sum(shape[0] for shape in inverters[-1].shapes) <= 6


def test_a_full_disk_is_known_before_the_work(inverters, model, photos, out, monkeypatch):
    put(photos / "a.png")

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unpaired.storage.os.replace", full)
    with pytest.raises(RunError, match="the disk is full"):
        translate_files(model, [photos], out, to="b")
    assert inverters[-1].shapes == []
    assert files(out) == set()


def test_out_is_a_file(model, photos, out):
    put(photos / "a.png")
    out.write_text("")
    with pytest.raises(RunError, match="a file stands where a folder is needed"):
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
sys.path.insert(0, sys.argv[4])
from conftest import Inverter
import unpaired.translation.model as module
from unpaired.translation.pictures import translate_files

class Slow(Inverter):
    def translate(self, images, direction):
        time.sleep(0.1)
        return super().translate(images, direction)

module.make_translator = Slow
model = module.load(sys.argv[1])
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
        while not (out.is_dir() and len(files(out)) >= 4) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in errors
    left = files(out)
    assert 4 <= len(left) < 60
    for name in left:
        assert_negative(out / name, photos / name)
