"""`unpaired train`."""

from pathlib import Path
from typing import Annotated

from unpaired.cli.flags import (
    AlignedFlag,
    Data,
    Domains,
    MaxPixels,
    RecipeFlags,
    RuntimeFlags,
    given,
    shown,
    source,
)
from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.presets import ABOUT, PRESETS, PresetName

__all__ = ["train"]


def train(
    data: Data,
    out: Annotated[Path, shown("the run folder; a run of the same recipe in it is resumed")],
    recipe: RecipeFlags,
    runtime: RuntimeFlags,
    preset: Annotated[
        PresetName | None,
        shown(
            "; ".join(f"{name}: {about}" for name, about in ABOUT.items()),
            "{" + ",".join(PRESETS) + "}",
            "(default: paper, or that of the run)",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        shown("start from the weights of this run, model.safetensors or hf://owner/name", "MODEL"),
    ] = None,
    epochs: Annotated[
        float | None, shown("passes over the larger domain, instead of --steps", "FLOAT")
    ] = None,
    minutes: Annotated[
        float | None,
        shown("duration, instead of --steps, which follow from 20 timed steps", "FLOAT"),
    ] = None,
    extend: Annotated[int, shown("steps to add to an existing run")] = 0,
    scale_with_batch: Annotated[
        bool,
        shown(
            "scale the preset's learning rates, betas, EMA and steps from its batch size to "
            "--batch-size (square-root rule, half-lives in images); values given stay"
        ),
    ] = False,
    domains: Domains = None,
    aligned: AlignedFlag = None,
    skip_unreadable: Annotated[bool, shown("train without the images that cannot be read")] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Learn to translate between two domains, or resume a run."""
    from unpaired.training.loop import train as run

    run(
        source(data),
        out=out,
        preset=preset,
        init=init,
        recipe=given(recipe),
        runtime=given(runtime),
        epochs=epochs,
        minutes=minutes,
        extend=extend,
        scale_with_batch=scale_with_batch,
        domains=domains,
        aligned=aligned,
        skip_unreadable=skip_unreadable,
        max_pixels=max_pixels,
    )
