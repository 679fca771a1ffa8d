"""Which images are found, where they go, and what is rejected before any work."""

import errno
import os
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from small_images import assert_negative, names_in, noise, put
from unpaired.console import Progress
from unpaired.errors import ConfigError, DataError, MissingExtra
from unpaired.images.formats import SUFFIXES, format_of, read_image
from unpaired.translation.files import translate_files
from unpaired.translation.model import load

# ---- what is found, and where it goes -----------------------------------------------------------


def test_a_folder_keeps_its_tree_names_and_formats(model, photos, out, monkeypatch):
    sources = [
        put(photos / name, seed=k, size=(5 + k, 9))
        for k, name in enumerate(["a.png", "sub/B.PNG", "sub/deep/c.webp", "d.bmp", "e.tif"])
    ]
    put(photos / "f.jpeg", size=(16, 16))
    (photos / "notes.txt").write_text("no image")
    (photos / ".hidden.png").write_text("no image")
    told = []
    monkeypatch.setattr(Progress, "update", lambda self, done: told.append((done, self.total)))
    summary = translate_files(model, [photos], out, to="winter")
    assert summary.failed == []
    assert names_in(out) == {
        "a.png", "sub/B.PNG", "sub/deep/c.webp", "d.bmp", "e.tif", "f.jpeg"
    }  # fmt: skip
    assert sorted(path.relative_to(out).as_posix() for path in summary.done) == sorted(
        names_in(out)
    )
    for source in sources:
        assert_negative(out / source.relative_to(photos), source)
    assert format_of((out / "f.jpeg").read_bytes()[:16]).name == "JPEG"
    assert told[-1] == (6, 6)
    assert told == sorted(told)


def test_files_patterns_and_folders_together(model, photos, out, monkeypatch):
    for name in ("a.png", "b.png", "x/1.png", "x/y/2.png", "x/y/2.txt", "z/c.jpg", "[d].png"):
        put(photos / name) if not name.endswith("txt") else (photos / name).write_text("")
    inputs = [photos / "a.png", f"{photos}/x/**/*", str(photos / "z"), f"{photos}/[d].png"]
    assert translate_files(model, inputs, out, to="b").failed == []
    assert names_in(out) == {"a.png", "1.png", "y/2.png", "c.jpg", "[d].png"}
    monkeypatch.chdir(photos)
    assert translate_files(model, ["*.png", "x/?/*"], "here", to="b").failed == []
    assert names_in(photos / "here") == {"a.png", "b.png", "[d].png", "y/2.png"}


def test_the_same_image_given_twice_is_translated_once(model, photos, out):
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
    assert names_in(photos) == {"a.png", "results/a.png"}


def test_format_changes_suffixes_unless_they_mean_the_same(model, photos, out):
    for name in ("a.png", "b.JPEG", "c.d.webp"):
        put(photos / name)
    assert translate_files(model, [photos], out, to="b", format="jpg").failed == []
    assert names_in(out) == {"a.jpg", "b.JPEG", "c.d.jpg"}
    assert format_of((out / "a.jpg").read_bytes()[:16]).name == "JPEG"
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


# ---- rejected before anything is written ---------------------------------------------------------


def test_nothing_found_is_rejected(model, photos, out):
    photos.mkdir()
    (photos / "notes.txt").write_text("")
    for inputs, reason in (
        ([photos], r"photos: no images in it \(\.jpg"),
        ([f"{photos}/*.png"], r"photos/\*\.png: no image matches"),
        ([photos / "a.png", photos / "b.png"], r"a\.png: does not exist; .*b\.png: does not exist"),
        ([], "give files"),
    ):
        with pytest.raises(DataError, match=f"nothing to translate: .*{reason}"):
            translate_files(model, inputs, out, to="b")
    assert not out.exists()


def test_what_is_missing_beside_others_is_listed(model, photos, out):
    put(photos / "a.png")
    (photos / "empty").mkdir()
    missing = [photos / "b.png", photos / "empty", f"{photos}/*.jpg"]
    summary = translate_files(model, [photos / "a.png", *missing], out, to="b")
    assert summary.done == [out / "a.png"]
    assert summary.failed == [
        (missing[0], "does not exist"),
        (missing[1], f"no images in it ({', '.join(SUFFIXES)})"),
        (Path(missing[2]), "no image matches"),
    ]


def test_a_broken_link_fails_alone(model, photos, out):
    put(photos / "a.png")
    put(photos / "real/c.png", seed=3)
    (photos / "b.png").symlink_to(photos / "gone.png")
    (photos / "c.png").symlink_to(photos / "c.png")
    (photos / "d.png").symlink_to(photos / "a.png" / "below")
    inputs = [photos, photos / "real", photos / "b.png", f"{photos}/b.*"]
    summary = translate_files(model, inputs, out, to="b")
    assert {*summary.done} == {out / "a.png", out / "real/c.png"}
    reasons = dict(summary.failed)
    assert reasons.pop(photos / "c.png") == os.strerror(errno.ELOOP).lower()
    assert reasons == dict.fromkeys([photos / "b.png", photos / "d.png"], "a broken link")
    with pytest.raises(DataError, match=r"nothing to translate: .*b\.png: a broken link"):
        translate_files(model, [photos / "b.png"], out, to="b")


def test_a_broken_link_takes_no_target_from_a_image(model, photos, out):
    put(photos / "y/a.png")
    (photos / "x").mkdir()
    (photos / "x/a.png").symlink_to("gone.png")
    summary = translate_files(model, [photos / "x", photos / "y"], out, to="b")
    assert summary.done == [out / "a.png"]
    assert summary.failed == [(photos / "x/a.png", "a broken link")]


def test_what_may_not_be_read_fails_alone(model, photos, out, unprivileged):
    put(photos / "open/a.png")
    put(photos / "open/b.png").chmod(0)
    listed, closed = photos / "listed", photos / "closed"
    for folder, mode in ((listed, 0o400), (closed, 0)):
        put(folder / "c.png")
        folder.chmod(mode)
    inputs = [photos / "open", listed, f"{listed}/*", closed, closed / "c.png"]
    with unprivileged():
        summary = translate_files(model, inputs, out, to="b")
        with pytest.raises(DataError, match=r"^nothing to translate: .*c\.png: permission denied$"):
            translate_files(model, [closed / "c.png"], out, to="b")
    assert summary.done == [out / "a.png"]
    assert dict(summary.failed) == {
        photos / "open/b.png": "permission denied",
        listed / "c.png": "permission denied",
        closed: "permission denied",
        closed / "c.png": "permission denied",
    }


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.png", "/*/*.png", "/*/inner/*"])
def test_a_closed_subfolder_fails_alone(model, photos, out, unprivileged, pattern):
    put(photos / "open/inner/a.png")
    put(photos / "closed/inner/b.png")
    (photos / "closed").chmod(0)
    with unprivileged():
        summary = translate_files(model, [f"{photos}{pattern}", photos / "open"], out, to="b")
    assert {path.name for path in summary.done} == {"a.png"}
    assert summary.failed == [(photos / "closed", "permission denied")]


def test_a_closed_folder_that_no_pattern_looks_into_is_no_failure(model, photos, out, unprivileged):
    put(photos / "a.png")
    put(photos / ".hidden/c.png")
    for folder in (photos / "closed", photos / ".hidden"):
        folder.mkdir(exist_ok=True)
        folder.chmod(0)
    with unprivileged():
        assert translate_files(model, [f"{photos}/*.png"], out, to="b").failed == []
        (photos / "closed").rmdir()
        again = translate_files(model, [f"{photos}/**"], out, to="b", overwrite=True)
    assert again.failed == []


def test_only_regular_files_are_opened(model, photos, out):
    put(photos / "sub/a.png")
    os.mkfifo(photos / "sub/pipe.png")
    (photos / "sub/zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(photos / "sub/s.png"))
        for given in ([photos], [f"{photos}/*/*.png"], [*(photos / "sub").iterdir()]):
            summary = translate_files(model, given, out, to="b", overwrite=True)
            assert [path.name for path in summary.done] == ["a.png"]
            assert {path.name for path, _ in summary.failed} == {"pipe.png", "zero.png", "s.png"}
            assert {reason for _, reason in summary.failed} == {
                "not a regular file (a pipe, a socket or a device)"
            }


def test_a_folder_whose_name_has_brackets_may_lead_a_pattern(model, photos, out):
    put(photos / "my [x]/sub/a.png")
    put(photos / "my x/sub/b.png")
    assert translate_files(model, [f"{photos}/my [x]/*/*.png"], out, to="b").failed == []
    assert names_in(out) == {"sub/a.png"}


def test_formats_that_are_not_written_become_png(model, photos, out):
    put(photos / "a.png")
    with PIL.Image.open(photos / "a.png") as image:
        image.save(photos / "b.ppm")
    assert translate_files(model, [photos / "b.ppm"], out, to="b").done == [out / "b.png"]
    assert_negative(out / "b.png", photos / "a.png")
    with pytest.raises(ConfigError, match="--format is 'gif'"):
        translate_files(model, [photos / "b.ppm"], out, to="b", format="gif")


def test_names_that_no_system_has(model, photos, out):
    put(photos / "a.png")
    inputs = [photos / "a.png", photos / ("x" * 300), f"{photos}/a\0.png"]
    summary = translate_files(model, inputs, out, to="b")
    assert summary.done == [out / "a.png"]
    (_, long), (_, null) = summary.failed
    assert long == os.strerror(errno.ENAMETOOLONG).lower()
    assert "null" in null


def test_two_images_of_one_target_are_rejected(model, photos, out):
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


def test_no_image_replaces_another_input(model, photos):
    put(photos / "p/a.png", seed=1)
    put(photos / "q/p/a.png", seed=2)
    before = (photos / "p/a.png").read_bytes()
    # q/p/a.png would become p/a.png in `photos`, which is still to be read.
    with pytest.raises(DataError, match=r"p/a\.png is itself an input: choose another --out$"):
        translate_files(model, [photos / "q", photos / "p"], photos, to="b", overwrite=True)
    assert (photos / "p/a.png").read_bytes() == before


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_a_format_that_cannot_hold_the_results_is_rejected(
    inverters, model_file, photos, out, suffix
):
    put(photos / f"a{suffix}")
    for kind in ({"depth_b": 16}, {"bands_b": 5}):
        model = load(model_file(**kind), device="cpu")
        with pytest.raises(ConfigError, match=rf"a {suffix} file cannot hold.*--format tiff"):
            translate_files(model, [photos], out, to="b")
        assert inverters[-1].shapes == []
        assert names_in(out) == set()


def test_many_bands_go_into_tiff(inverters, model_file, photos, out, monkeypatch):
    pytest.importorskip("rasterio")
    put(photos / "a.png")
    model = load(model_file(bands_b=5, depth_b=16), device="cpu")
    translate_files(model, [photos], out, to="b", format="tiff")
    assert read_image(out / "a.tiff").pixels.shape == (8, 8, 5)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtra, match=r"unpaired\[geo\]"):
        translate_files(model, [photos], out, to="b", format="tiff", overwrite=True)


def test_values_out_of_range_are_rejected(model, photos, out):
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
    assert names_in(elsewhere) == {"b.png"}
    assert kept.read_bytes() == before
    assert not (out / "b.png").is_symlink()
    assert_negative(out / "b.png", photos / "b.png")


def test_a_pattern_with_a_step_up_stays_in_out(model, photos, out):
    put(photos / "a.png")
    put(photos / "sub/b.png")
    translate_files(model, [f"{photos}/s*/../a.png"], out / "deep", to="b")
    assert names_in(out) == {"deep/a.png"}


def test_a_folder_of_the_name_of_a_target(model, photos, out):
    put(photos / "a.png")
    put(photos / "b.png")
    (out / "a.png").mkdir(parents=True)
    summary = translate_files(model, [photos], out, to="b", overwrite=True)
    assert summary.done == [out / "b.png"]
    assert summary.failed == [(photos / "a.png", f"{out}/a.png is a folder")]
