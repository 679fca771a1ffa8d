"""`unpaired translate` from end to end, with the fake engine."""

import numpy as np
import pytest
from PIL import Image

from command_line import SMALL_RUN, flags
from fake_engine import FakeEngine
from unpaired.cli.main import main
from unpaired.errors import SomeFailed
from unpaired.images.formats import SUFFIXES


def test_translate_a_file_and_a_folder(fake_run, data, tmp_path, said):
    out = tmp_path / "out"
    images = data / "testA"
    code, told, err = said("translate", fake_run, images, "--to", "b", "--out", out / "folder")
    assert (code, told, err) == (0, f"2 images translated into {out / 'folder'}\n", "")
    one = images / "00.png"
    code, told, _ = said("translate", fake_run, one, "--to", "b", "--out", out / "file")
    assert (code, told) == (0, f"1 image translated into {out / 'file'}\n")
    assert (out / "file" / "00.png").read_bytes() == (out / "folder" / "00.png").read_bytes()
    with Image.open(out / "file" / "00.png") as made, Image.open(one) as source:
        assert (made.size, made.mode) == (source.size, source.mode)
        assert not np.array_equal(np.asarray(made), np.asarray(source))


def test_translate_by_the_names_of_the_domains(fake_engine, data, tmp_path, said, monkeypatch):
    monkeypatch.setattr("unpaired.engines.loading.make_translator", FakeEngine)
    names = flags({"name_a": "day", "name_b": "night"})
    assert said("train", data, "--out", tmp_path / "run", *SMALL_RUN, *names)[0] == 0
    for to in ("night", "b", "day", "a"):
        command = ["translate", tmp_path / "run", data / "testA", "--to", to]
        assert said(*command, "--out", tmp_path / to)[0] == 0
    for one, other in (("night", "b"), ("day", "a")):
        made = [(tmp_path / name / "01.png").read_bytes() for name in (one, other)]
        assert made[0] == made[1]


def test_one_failing_image_leaves_the_others(fake_run, data, tmp_path, said):
    (data / "testA" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (data / "testA" / "text.jpg").write_text("not an image")
    out = tmp_path / "out"
    code, told, err = said("translate", fake_run, data / "testA", "--to", "b", "--out", out)
    assert (code, told) == (1, f"2 images translated into {out}\n")
    head, *listed = err.splitlines()
    assert head == "unpaired: 2 images failed:"
    assert len(listed) == 2
    for name in ("broken.png", "text.jpg"):
        assert any(line.startswith(f"  {data / 'testA' / name}: ") for line in listed)
    assert sorted(path.name for path in out.iterdir()) == ["00.png", "01.png"]


def test_existing_results_stay_unless_overwritten(fake_run, data, tmp_path, said):
    command = ["translate", fake_run, data / "testB", "--to", "a", "--out", tmp_path / "out"]
    assert said(*command)[0] == 0
    (tmp_path / "out" / "00.png").write_bytes(b"mine")
    code, _, err = said(*command)
    assert code == 1
    assert "exists already: --overwrite replaces it" in err
    assert (tmp_path / "out" / "00.png").read_bytes() == b"mine"
    assert said(*command, "--overwrite")[0] == 0
    assert (tmp_path / "out" / "00.png").read_bytes() != b"mine"


def test_translate_rejects_in_one_line(fake_run, data, tmp_path, rejected):
    rest = ["--to", "b", "--out", tmp_path / "out"]
    assert "no domain 'winter'" in rejected(
        "translate", fake_run, data / "testA", "--to", "winter", "--out", tmp_path / "out"
    )
    assert "does not exist" in rejected("translate", tmp_path / "gone", data / "testA", *rest)
    assert "gone.png" in rejected("translate", fake_run, tmp_path / "gone.png", *rest)
    assert "nothing" in rejected("translate", fake_run, *rest)
    assert "--working-size is 3" in rejected(
        "translate", fake_run, data / "testA", *rest, "--working-size", "3"
    )
    assert not list(tmp_path.glob("out/**/*.png"))


def test_translate_formats_and_sizes(fake_run, data, tmp_path, said):
    given = flags({"to": "b", "out": tmp_path / "out", "format": "tiff", "working_size": 12})
    assert said("translate", fake_run, data / "testA", *given)[0] == 0
    with Image.open(tmp_path / "out" / "00.tiff") as made:
        assert (made.format, made.size) == ("TIFF", (14, 10))


def test_debug_raises_what_failed(fake_run, data, tmp_path, monkeypatch):
    monkeypatch.setenv("UNPAIRED_DEBUG", "1")
    (data / "testA" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    words = ["translate", fake_run, data / "testA", "--to", "b", "--out", tmp_path / "out"]
    with pytest.raises(SomeFailed):
        main([str(word) for word in words])


def test_every_format_that_is_written_can_be_asked_for(fake_run, data, tmp_path, said):
    suffixes = {kind.name: suffix for suffix, kind in SUFFIXES.items() if kind.written}
    for name, suffix in suffixes.items():
        out = tmp_path / name
        given = ("--to", "b", "--out", out, "--format", suffix[1:])
        assert said("translate", fake_run, data / "testA" / "00.png", *given)[0] == 0, name
        assert [path.suffix for path in out.iterdir()] == [suffix]
    said_no = said(
        "translate", fake_run, data / "testA", "--to", "b", "--out", out, "--format", "x"
    )
    assert said_no[0] == 2
    assert "choose one of" in said_no[2]
