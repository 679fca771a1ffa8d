"""The examples in docstrings run, and there are some."""

import doctest
import importlib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "unpaired"
FILES = [path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_examples_in_docstrings(path):
    name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples_where_they_explain_best():
    folders = {path.relative_to(SOURCE).parts[0] for path in FILES}
    assert {"images", "metrics", "report"} <= folders
