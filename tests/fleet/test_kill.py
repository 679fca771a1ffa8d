"""A shard killed at any moment: whole files only, and the same command does what is left."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleet.conftest import results_in, rows_in
from small_images import put

MODEL = Path(__file__).parents[1] / "files/v0.1/expected"


@pytest.mark.nightly
def test_a_killed_shard_resumes(tmp_path):
    for k in range(150):
        put(tmp_path / "in" / f"{k:03d}.png", seed=k, size=(48, 48))
    options = ["--to", "b", "--threads", "1"]
    command = [sys.executable, "-m", "unpaired", "translate", MODEL, tmp_path / "in", *options]
    plain = [*command, "--out", tmp_path / "plain", "--batch-size", "1", "--precision", "recipe"]
    subprocess.run(plain, check=True, capture_output=True)
    shard = [*command, "--out", tmp_path / "out", "--shard", "0/1"]
    rng, env, stops = random.Random(0), os.environ | {"OMP_NUM_THREADS": "1"}, 0
    manifest = tmp_path / "out" / "manifest-0-of-1.jsonl"
    for stop in sorted(rng.sample(range(150), 5)):
        process = subprocess.Popen(shard, env=env, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "out").glob("*.png"))) <= stop:
            time.sleep(0.005)
        process.kill()
        stops += process.wait() != 0
        whole = results_in(tmp_path / "plain")
        assert all(whole[name] == made for name, made in results_in(tmp_path / "out").items()
                   if not name.startswith(".translating-"))  # fmt: skip
    assert stops >= 3
    written = len(list((tmp_path / "out").glob("*.png")))
    done = subprocess.run(shard, env=env, check=True, capture_output=True, text=True).stdout
    again = int(done.split()[0]) - (150 - written)
    assert 0 <= again <= 9, done  # what was written and had no row yet
    assert results_in(tmp_path / "out") == results_in(tmp_path / "plain")
    assert len(rows_in(manifest)) == len({row["name"] for row in rows_in(manifest)}) == 150
