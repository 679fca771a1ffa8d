"""The package as it is built: what the wheel and the sdist hold, and what their metadata say."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import unpaired

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "unpaired"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RELEASE = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))

hatchling = pytest.importorskip("hatchling", reason="hatchling (the extra `dev`) is not installed")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a wheel and an sdist of the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_holds_every_file_of_the_package(wheel):
    """Templates, styles, scripts and tables too; and nothing besides."""
    there = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"unpaired/py.typed", "unpaired/data/paper.toml", "unpaired/report/style.css"} <= there
    assert {Path(name).suffix for name in there} >= {".j2", ".css", ".js", ".html", ".toml", ".py"}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == there
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_sdist_builds_the_wheel_and_runs_the_tests(built):
    """It holds what the wheel is built of, and the tests with their files, but nothing private."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert names >= {
        "pyproject.toml", "README.md", "LICENSE", "constraints.txt", "CITATION.cff",
        "src/unpaired/py.typed", "tests/conftest.py", "tests/files/v0.1/README.md",
    }  # fmt: skip
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".venv", "runs", "dist", "shared", ".git", ".hypothesis", ".pytest_cache"}


def test_the_version_is_in_one_place(metadata):
    version = PROJECT["version"]
    assert metadata["Version"] == version
    repeated = [
        path.relative_to(ROOT).as_posix()
        for folder in (PACKAGE, ROOT / "deploy", ROOT / ".github")
        for path in folder.rglob("*")
        if path.suffix in {".py", ".toml", ".yaml", ".html", ".j2", ".js"}
        and re.search(rf"unpaired[\"' =:-]*v?{re.escape(version)}\b", path.read_text("utf-8"))
    ]
    assert repeated == []
    assert not hasattr(unpaired, "__version__")  # importlib.metadata.version("unpaired") is it
    assert "\nversion:" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_metadata_are_those_of_the_project(metadata):
    assert metadata.get_all("Provides-Extra") is not None
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == "Apache-2.0"
    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    base = {each.name for each in needed if not each.marker}
    assert base == {Requirement(line).name for line in PROJECT["dependencies"]}
    for extra in PROJECT["optional-dependencies"]:
        at = {"extra": extra, "sys_platform": "linux"}
        brought = [each for each in needed if each.marker and each.marker.evaluate(at)]
        assert brought, f"the extra {extra} brings nothing"


UNPINNED = {"torch-fidelity"}  # tested where it is installed


def test_extras_allow_the_versions_that_tests_run_with():
    """Each requirement has a pin in constraints.txt, which it allows."""

    def plain(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").split())
    pins = {plain(name): version for name, version in pins.items()}
    for lines in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        for each in map(Requirement, lines):
            if each.name not in UNPINNED | {"unpaired"}:
                assert plain(each.name) in pins, f"{each.name} is not in constraints.txt"
                assert each.specifier.contains(pins[plain(each.name)]), each


def test_classifiers_are_known_and_name_the_tested_versions():
    from trove_classifiers import classifiers

    assert set(PROJECT["classifiers"]) <= classifiers
    named = [
        line.rsplit(" ", 1)[1]
        for line in PROJECT["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    ]
    assert named == RELEASE["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_the_release_publishes_what_was_tested_and_keeps_no_token():
    jobs = RELEASE["jobs"]
    assert jobs["test"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "test"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert RELEASE["permissions"] == {"contents": "read"}
    assert "secrets." not in (ROOT / ".github/workflows/release.yml").read_text("utf-8")


def test_the_citation_is_whole():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["title"] == PROJECT["name"]
    assert cited["license"] == PROJECT["license"]
    assert cited["keywords"] == PROJECT["keywords"]


def test_bash_takes_the_completion(tmp_path):
    command = [sys.executable, "-m", "unpaired", "--tyro-print-completion", "bash"]
    script = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    path = tmp_path / "unpaired"
    path.write_text(script)
    done = subprocess.run(
        ["bash", "-c", f"source {path} && complete -p unpaired"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "unpaired" in done.stdout
    for verb in ("train", "translate", "lr-find"):
        assert verb in script
    assert "--image-size" in script
