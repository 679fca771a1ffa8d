"""What the command line imports before it works: each package costs everybody's every start."""

import json
import subprocess
import sys
from collections import Counter

import pytest

LOADED = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    {work}
print(json.dumps(sorted(sys.modules)))
"""
HEAVY = {
    "PIL", "equinox", "jax", "jinja2", "numpy", "onnx", "onnxruntime", "openvino", "optax",
    "psutil", "rasterio", "rich", "safetensors", "tensorboard", "torch",
}  # fmt: skip


def loaded_by(work):
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(work=work)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def packages(modules):
    return Counter(name.split(".")[0] for name in modules)


@pytest.mark.parametrize("words", [["--help"], ["translate", "--help"], ["--version"]])
def test_help_imports_nothing_that_works(words):
    found = packages(loaded_by(f"import unpaired.cli.main as m; m.main({words})"))
    assert set(found) & HEAVY == set()
    assert found["unpaired"] <= 36  # today 28: the verbs, their flags, the fields behind them
    assert found.total() <= 370  # today 310, Python's own and the parser's included


def test_a_translation_imports_its_framework_last_and_no_display():
    """Until a model is loaded: neither a framework, nor what shows progress on a terminal."""
    found = packages(loaded_by("import unpaired.translation.files"))
    assert {"numpy", "PIL"} <= set(found)
    assert set(found) & (HEAVY - {"numpy", "PIL", "psutil", "safetensors"}) == set()
