"""What runs in place of `unpaired` where documented commands are tested: the same, made short.

A command is taken as it is documented, and only this is changed:
- trainings: two steps of networks of two channels on 16 px; `--minutes` and `--epochs` are omitted,
  `--extend N` adds two steps, and `--start auto`, a trial of 400 steps, is `noise`;
- `seasons-lite` is a data set of 12 + 12 + 8 such landscapes;
- `lr-find` tries two rates for two steps; `bench` times translating with `tiny` at 32 px alone;
- `demo` takes two steps; `serve` gets `--check`, which ends it.
"""

import os
import sys

TRAINING = {
    "--image-size": "16", "--load-size": "16", "--width": "2", "--blocks": "1",
    "--discriminator-width": "2", "--discriminator-layers": "1", "--discriminator-images": "1",
    "--discriminator-norm": "instance", "--pool-size": "2", "--upsample": "transposed",
    "--start": "noise", "--precision": "fp32", "--threads": "1", "--ema": "0",
}  # fmt: skip
DROPPED = ("--minutes", "--epochs", "--preset")


def shorter(words):
    """The words with the changes above."""
    words = [os.environ.get("SEASONS", word) if word == "seasons-lite" else word for word in words]
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb in ("train", "lr-find"):
        extended = "--extend" in words
        for flag in (*DROPPED, *TRAINING, "--extend", "--steps"):
            while flag in words:
                del words[words.index(flag) : words.index(flag) + 2]
        words += ["--preset", "tiny", *(part for pair in TRAINING.items() for part in pair)]
        if verb == "lr-find":
            words += ["--length", "2", "--rates", "1e-4", "2e-4"]
        words += ["--extend", "2"] if extended else ["--steps", "2"]
    elif verb == "bench":
        words += ["--only", "translate", "--preset", "tiny", "--size", "32", "--minutes", ".02"]
        words += ["--engine", "torch", "--runtime", "engine"]
    elif verb == "demo":
        words += ["--steps", "2"]
    elif verb == "serve" and "--check" not in words:
        words += ["--check"]
    return words


if __name__ == "__main__":
    from unpaired.cli.main import main

    sys.exit(main(shorter(sys.argv[1:])))
