"""Every command of the documentation is run, or named below with the reason why not.

All are parsed. `doc_stand_in` makes them short. Each block runs in a folder of its own that has
what the pages speak of, as a shell runs it, stopping at the first failure. The whole is nightly;
a few run always.
"""

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import doc_stand_in
import unpaired
from doc_blocks import ROOT, blocks, inline, simple_commands, words_of_unpaired
from unpaired.cli.main import main
from unpaired.cli.parser import parse
from unpaired.seasons.dataset import SeasonsSpec, write_seasons

# Commands that are not run, by a pattern of their beginning or middle, with the reason. Those of
# `unpaired` among them are parsed all the same.
OMITTED = {
    r"^pip install": "asks an index; tests/test_fresh_install.py installs the wheel",
    r"pre-commit": "asks an index, and installs hooks",
    r"^make ": "the suite itself, the demo, the linters: continuous integration runs them",
    r"s3://": "an object store; tests/fleet has one of moto",
    r"hf://": "a hub; tests/hub has a stand-in",
    r"^unpaired push (?!.* --out)": "a hub; tests/hub has a stand-in",
    r"^torchrun ": "several processes; tests/training/test_several.py starts them",
    r"^for r in 0 1": "several processes; tests/training/test_several.py starts them",
    r"^(head=|srun |export MASTER_ADDR)": "Slurm is not available",
    r"^curl ": "asks the server of the line above; tests/serving ask it the same",
    r"--host 0\.0\.0\.0": "listens beyond this machine; tests/serving listen at 127.0.0.1",
    r"^python3 -m http\.server": "serves until it is stopped; tests/web serve the same folder",
    r"--format web": "fetches onnxruntime-web; tests/web give its files",
    r"--track ": "MLflow is no part of the extra dev; tests/training has it where it is installed",
    r"^gdalbuildvrt ": "a program of GDAL, which rasterio does not bring; the result is provided",
    r"^unpaired study score": "answers come out of a page in a browser; tests/study give them",
    r"--engine jax": "compiles for a minute; tests/engines hold JAX equal to PyTorch",
}
SHELL = blocks("sh")
COMMANDS = [(block, command) for block in SHELL for command in block.commands]
PROGRAMS = {"unpaired", "openssl", "mkdir"}  # what a command that is run may start
LANGUAGES = {"sh", "python", "text", "toml", "json", "yaml", "bibtex"}


def omitted(command):
    return any(re.search(pattern, command) for pattern in OMITTED)


# ---- all of them are read -----------------------------------------------------------------


def test_every_block_names_its_language():
    assert [block.place for block in blocks() if block.language not in LANGUAGES] == []


def test_every_command_is_run_or_omitted_with_a_reason():
    unknown = [
        f"{block.place}: {words[0]}"
        for block, command in COMMANDS
        if not omitted(command)
        for words in simple_commands(command)
        if words[0] not in PROGRAMS
    ]
    assert unknown == []
    for pattern in OMITTED:
        assert any(re.search(pattern, command) for _, command in COMMANDS), f"unused: {pattern}"


def test_there_are_commands_of_every_kind():
    """Guards the tests here: that blocks, continuations, loops and quotes are read."""
    assert len(SHELL) > 40
    found = [words for _, command in COMMANDS for words in words_of_unpaired(command)]
    assert len(found) > 70
    verbs = {words[0] for words in found}
    assert verbs >= {"train", "translate", "evaluate", "serve", "export", "lr-find", "fleet"}
    loop = next(
        words for _, c in COMMANDS if c.startswith("for r") for words in words_of_unpaired(c)
    )
    assert loop == [
        "train",
        "photos/",
        "--out",
        "runs/mine",
        "--batch-size",
        "2",
        "--engine",
        "jax",
    ]
    srun = [
        list(words_of_unpaired(c)) for _, c in COMMANDS if c.startswith("srun") and "bash -c" in c
    ]
    assert srun[0][0][:2] == ["train", "/shared/photos"]


def calls():
    """The distinct words that `unpaired` is given anywhere, with the first place of each."""
    found = {}
    for block, command in COMMANDS:
        for words in words_of_unpaired(command):
            found.setdefault(tuple(words), block.place)
    for page, command in inline():
        words = [w for w in command.split("#")[0].split() if w not in ("...", "VERB")][1:]
        found.setdefault(tuple(word.strip("'\"") for word in words), f"{page} (in a sentence)")
    return found


def test_every_command_is_parsed(capsys):
    """The parser of the command line takes them: unknown flags, verbs and values fail.

    A sentence may omit what the command needs besides, or name a verb alone.
    """
    wrong = []
    for words, place in calls().items():
        asked = [*words, "--help"] if len(words) == 1 or words[0] == "data" else words
        try:
            parse(asked)
        except SystemExit as ended:
            said = capsys.readouterr().err
            partial = "sentence" in place and re.match(r"\s*(Required|Missing)", said)
            if ended.code and not partial:
                wrong.append(f"{place}: unpaired {' '.join(words)}\n{said[:300]}")
    assert wrong == [], "\n".join(wrong)


def test_a_wrong_flag_is_seen(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["train", "photos/", "--out", "runs/mine", "--minuets", "60"])
    assert ended.value.code not in (0, None)


def test_the_extras_and_targets_that_are_named_are_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for _block, command in COMMANDS:
        for extras in re.findall(r"(?:unpaired|\.)\[([\w,]+)\]", command):
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), command
        if command.startswith("make "):
            assert command.split()[1] in targets, command


def test_python_blocks_compile_and_name_what_is_there():
    found = blocks("python")
    assert len(found) > 8
    for block in found:
        tree = ast.parse(block.text, block.place)
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "unpaired":
                assert node.attr in (*unpaired.__all__, "fleet"), block.place


# ---- all of them are run ------------------------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """A folder with `unpaired`, the stand-in, for PATH."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "unpaired"
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{doc_stand_in.__file__}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder


def run(folder, program, command):
    """Runs a command of the shell in a folder; its output where it fails."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    env = {
        **os.environ, "PATH": f"{program}:{os.environ['PATH']}", "HOME": str(home),
        "UNPAIRED_DATA": str(folder / "named"), "SEASONS": str(folder / "seasons-lite"),
        "COLUMNS": "100", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    bash = ["bash", "-e", "-u", "-o", "pipefail", "-c", command]
    done = subprocess.run(
        bash, cwd=folder, env=env, capture_output=True, text=True, timeout=1800,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def draw(folder):
    """The small data set of the stand-in, and the folders of photographs that pages speak of."""
    seasons = folder / "seasons-lite"
    write_seasons(seasons, SeasonsSpec(size=32, train=12, test=8, level="lite"))
    photos = folder / "photos"
    for name in ("photos", "more", "data/mine"):
        shutil.copytree(seasons, folder / name)
        (folder / name / "README.txt").unlink()
    for name, part in {"summer": "trainA", "winter": "trainB", "folder": "testA"}.items():
        shutil.copytree(photos / part, folder / name)
    for part in ("train", "test"):
        for name, side in {"clear": "A", "fog": "B"}.items():
            shutil.copytree(photos / f"{part}{side}", folder / "driving" / part / name)
    for name in ("photo.jpg", "photo.png"):
        from PIL import Image

        Image.open(photos / "testA" / "0000.png").resize((96, 64)).save(folder / name)


def write_scenes(folder):
    """scenes/ with train and test: two bands of float32, and four named ones of int16."""
    import rasterio

    rng = np.random.default_rng(5)
    bands = {"sar": ["VV", "VH"], "optical": ["B4", "B3", "B2", "B8"]}
    for split in ("train", "test"):
        for domain, names in bands.items():
            for index in range(2):
                path = folder / "scenes" / split / domain / f"2023-06-0{index + 1}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                kind = "float32" if domain == "sar" else "int16"
                values = rng.normal(-12, 4, (len(names), 64, 64))
                values = values if domain == "sar" else 1500 + 80 * values
                with rasterio.open(
                    path, "w", driver="GTiff", width=64, height=64, count=len(names), dtype=kind,
                    crs="EPSG:32630", transform=rasterio.Affine(200, 0, 5e5, 0, -200, 4.2e6),
                ) as file:  # fmt: skip
                    file.write(values.astype(kind))
                    for number, name in enumerate(names, 1):
                        file.set_band_description(number, name)
    first = folder / "scenes" / "test" / "sar" / "2023-06-01.tif"
    shutil.copyfile(first, folder / "scene.tif")
    shutil.copyfile(first, folder / "mosaic.vrt.tif")
    (folder / "mosaic.vrt").write_text(vrt_of("mosaic.vrt.tif"))


def vrt_of(name):
    """A mosaic of one scene, as gdalbuildvrt writes it."""
    band = (
        '<VRTRasterBand dataType="Float32" band="{0}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>{{0}}</SourceBand>'
        '<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        '<DstRect xOff="0" yOff="0" xSize="64" ySize="64"/></SimpleSource></VRTRasterBand>'
    )
    return (
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32630</SRS>'
        "<GeoTransform>500000, 200, 0, 4200000, 0, -200</GeoTransform>"
        f"{band.format(1)}{band.format(2)}</VRTDataset>"
    )


def write_alexnet(path):
    """Random weights in the shapes of AlexNet, which KID compares with."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    shapes = {
        0: (64, 3, 11),
        3: (192, 64, 5),
        6: (384, 192, 3),
        8: (256, 384, 3),
        10: (256, 256, 3),
    }
    arrays = {}
    for layer, (out, into, side) in shapes.items():
        std = (2 / (into * side * side)) ** 0.5
        arrays[f"features.{layer}.weight"] = rng.normal(0, std, (out, into, side, side))
        arrays[f"features.{layer}.bias"] = np.zeros(out)
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, path)


@pytest.fixture(scope="module")
def world(tmp_path_factory, program):
    """A folder with all that the pages speak of, small: data, runs, weights."""
    folder = tmp_path_factory.mktemp("world")
    draw(folder)
    write_scenes(folder)
    write_alexnet(folder / "alexnet.safetensors")
    names = "--name-a summer --name-b winter"
    run(folder, program, f"unpaired train photos --out runs/mine {names}")
    for name in ("one", "two", "s2w", "other", "seasons", "first", "maps"):
        shutil.copytree(folder / "runs/mine", folder / "runs" / name)
    run(folder, program, "unpaired train driving --domains clear fog --out runs/fog")
    sar = "unpaired train scenes --domains sar optical --out runs/sar --bands-b B4,B3,B2,B8"
    run(folder, program, sar)
    shutil.copyfile(folder / "runs/mine/model.safetensors", folder / "model.safetensors")
    run(folder, program, "unpaired export runs/mine --format original --out original")
    run(folder, program, "unpaired export runs/mine --format onnx --out exported")
    maps = folder / "checkpoints/maps_cyclegan"
    maps.mkdir(parents=True)
    for path in (folder / "original").glob("*.pth"):
        shutil.copyfile(path, maps / path.name)
        shutil.copyfile(path, folder / path.name)
    shutil.copyfile(maps / "latest_net_G_A.pth", folder / "horse2zebra.pth")
    (folder / "RUN").symlink_to("runs/mine")
    return folder


# What single pages need besides, and what theirs is of a name that others use otherwise.
def prepare(folder, page):
    if page == "docs/coming-from.md":
        shutil.copyfile(folder / "horse2zebra.pth", folder / "latest_net_G.pth")
    if page == "docs/streaming.md":  # its scene is of the model's own bands
        from PIL import Image

        Image.open(folder / "photo.png").save(folder / "scene.tif")


RUN = [block for block in SHELL if not all(map(omitted, block.commands))]


@pytest.mark.nightly
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.place)
def test_the_commands_of_a_block(block, world, program, tmp_path):
    folder = tmp_path / "here"
    shutil.copytree(world, folder, symlinks=True)
    prepare(folder, block.page)
    for command in block.commands:
        if omitted(command):
            continue
        out = re.search(r"--out (runs/\S+)", command)
        trains = command.startswith("unpaired train")
        if trains and out and "resume" not in command and "--extend" not in command:
            shutil.rmtree(folder / out[1], ignore_errors=True)  # a training begins afresh
        run(folder, program, command)


PYTHON_OMITTED = {
    "spark.read": "Spark and Dask are not installed",
    "dask.bag": "Spark and Dask are not installed",
    "hf://": "a hub; tests/hub has a stand-in",
    "InferenceClient": "asks a server; tests/serving ask it the same",
}
PYTHON_RUN = [b for b in blocks("python") if not any(word in b.text for word in PYTHON_OMITTED)]


@pytest.mark.nightly
@pytest.mark.parametrize("block", PYTHON_RUN, ids=lambda block: block.place)
def test_python_blocks_run(block, world, program, tmp_path, monkeypatch):
    """As they are, with the trainings made short as `doc_stand_in` does."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder, symlinks=True)
    for name in re.findall(r'out="(runs/\w+)"', block.text):
        shutil.rmtree(folder / name)
    text = block.text.replace('"seasons-lite"', repr(str(folder / "seasons-lite")))
    values = {key[2:].replace("-", "_"): value for key, value in doc_stand_in.TRAINING.items()}
    short = ", ".join(
        f"{key}={value if re.fullmatch(r'[0-9.]+', value) else repr(value)}"
        for key, value in (values | {"steps": "2"}).items()
    )
    text = re.sub(r", steps=\d+|, preset=\"\w+\"", "", text)
    text = re.sub(r"(unpaired\.train\([^)]*)\)", rf'\1, preset="tiny", {short})', text)
    short = short.replace("steps=2", "length=2, rates=(1e-4, 2e-4)")
    text = re.sub(r"(unpaired\.lr_find\([^)]*)\)", rf'\1, preset="tiny", {short})', text)
    before = "import numpy as np\nimport unpaired\nsar = np.zeros((32, 32, 2), np.float32)\n"
    path = folder / "block.py"
    path.write_text(before + text)
    run(folder, program, f'"{sys.executable}" block.py')


# ---- a few of them, always ----------------------------------------------------------------


def test_a_few_commands(tmp_path, monkeypatch, capsys):
    """Of docs/photographs.md, in this process: a check of the data, a training, a translation."""
    draw(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNPAIRED_DATA", str(tmp_path / "named"))
    few = [
        command
        for block, command in COMMANDS
        if block.page == "docs/photographs.md" and "--extend" not in command
        and not command.startswith("unpaired evaluate")
    ]  # fmt: skip
    assert len(few) >= 4
    for command in few:
        (words,) = words_of_unpaired(command)
        words = [*doc_stand_in.shorter(list(words)), "--quiet"]
        words += ["--report", "none"] if words[0] == "train" else []
        assert main(words) == 0, capsys.readouterr().err
    assert len(list(Path("translated").glob("*"))) == 9
