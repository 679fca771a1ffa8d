"""The values of a recipe for another batch size than its preset's: `--scale-with-batch`."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from unpaired.checkpoint import checkpoints, read_header
from unpaired.errors import CheckpointError
from unpaired.presets import scaled_to_batch

__all__ = ["scaled_values"]


def scaled_values(
    folder: Path, preset: str | None, given: Mapping[str, object], *, length_given: bool
) -> dict[str, object]:
    """The values `given` for the recipe of the run in `folder`, and those that the rule adds.

    The rule is `presets.scaled_to_batch`. It sets no number of steps where the length is given
    otherwise, or was settled when the run was created.

    Raises:
        ConfigError: no such preset, or no batch size is given.
    """
    found = None
    for path in reversed(checkpoints(folder)):
        with contextlib.suppress(CheckpointError):  # create_or_resume reports damaged ones
            found = read_header(path).config.recipe
            break
    name = preset or (found.preset if found else "paper")
    values = scaled_to_batch(name, given)
    if "steps" not in given and (found or length_given):
        values.pop("steps", None)
    return values
