"""The container files name flags, extras and files that are there."""

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from unpaired.cli.parser import parse

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_flags_of_the_compose_file_are_those_of_serve():
    parse(["serve", *COMPOSE["services"]["unpaired"]["command"]])
    with pytest.raises(SystemExit):
        parse(["serve", "/models/mine", "--no-such-flag=1"])


def test_prometheus_is_let_in():
    """It asks by the name of the service, which has to be allowed."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    name, port = target.split(":")
    assert f"--allow-host={name}" in COMPOSE["services"]["unpaired"]["command"]
    assert port == "8000"


def test_the_dockerfile_copies_and_installs_what_there_is():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    asked = re.search(r"'\.\[([\w,]+)\]'", DOCKERFILE)[1].split(",")
    assert set(asked) <= set(extras["optional-dependencies"])
    copied = re.search(r"^COPY (.+) \./$", DOCKERFILE, re.MULTILINE)[1].split()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (*copied, "src"):
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored
    assert "USER 10001" in DOCKERFILE
    entry = re.search(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)[1]
    assert json.loads(entry) == ["unpaired", "serve"]


def test_the_flags_of_the_guide_are_there():
    """Every command line of docs/serving.md is parsed."""
    guide = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    lines = re.findall(r"^unpaired (serve .+?)(?:  +#.*)?$", guide, re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        parse(line.split())
