"""Real images through the whole command line, warnings being errors."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SHARED = Path(__file__).parents[2].parent / "shared" / "data"

pytest.importorskip("torch", reason="the torch engine is not installed")


def unpaired(*words):
    arguments = [sys.executable, "-W", "error", "-m", "unpaired", *map(str, words)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done


@pytest.mark.skipif(not (SHARED / "emojis").is_dir(), reason="shared/data/emojis is not here")
def test_emojis_train_and_translate_without_a_warning(tmp_path):
    """Palettes with transparency, nearly all of them. The trial of a start has other tests."""
    run, out = tmp_path / "run", tmp_path / "out"
    folders = SHARED / "emojis" / "testA", SHARED / "emojis" / "testB"
    little = "--preset small --width 4 --blocks 1 --discriminator-width 4 --steps 5 --threads 1"
    little += " --start noise"
    unpaired("train", *folders, "--out", run, *little.split())
    inputs = sorted(folders[0].iterdir())[:12]
    unpaired("translate", run, *inputs, "--to", "testB", "--out", out, "--threads", "1")
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in inputs]
    for path in inputs:
        with Image.open(path) as before, Image.open(out / path.name) as after:
            assert after.size == before.size
            alpha = before.convert("RGBA").getchannel("A")
            if alpha.getextrema() != (255, 255):
                assert after.getchannel("A").tobytes() == alpha.tobytes()
