"""Mutated images of every format: one line of error or an image, quickly, in little memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parents[1] / "fuzz_images.py"


def fuzz(folder: Path, seed: int, count: int, seconds: float) -> None:
    folder.mkdir(exist_ok=True)
    limit = 4 * 2**20  # KiB of addresses; the program checks what it used
    limited = ["sh", "-c", f'ulimit -v {limit} && exec "$@"', "sh"]
    command = [*limited, sys.executable, PROGRAM, folder, str(seed), str(count)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
        )
        told = done.stderr if done.returncode or done.stderr else ""
        told = f"exit code {done.returncode}\n{told}" if told or done.returncode else ""
    except subprocess.TimeoutExpired:
        told = f"more than {seconds} s"
    case = (folder / "case").read_text() if (folder / "case").exists() else "?"
    assert not told, f"from seed {seed}, at seed {case}, file {folder / 'mutated'}: {told}"


def test_mutated_images(tmp_path):
    fuzz(tmp_path, seed=0, count=600, seconds=60)


@pytest.mark.nightly
def test_many_mutated_images(tmp_path):
    first = int(np.random.default_rng().integers(10**6, 10**12))
    print(f"seed {first}")  # shown where it fails
    for part in range(20):
        fuzz(tmp_path / str(part), seed=first + 1000 * part, count=1000, seconds=300)
