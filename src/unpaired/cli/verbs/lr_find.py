"""`unpaired lr-find`."""

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
from unpaired.presets import PRESETS, PresetName

__all__ = ["lr_find"]


def lr_find(
    data: Data,
    recipe: RecipeFlags,
    runtime: RuntimeFlags,
    rates: Annotated[
        tuple[float, ...],
        shown(
            "learning rates of the generators to try",
            "FLOAT...",
            "(default: the recipe's, and up to 8 times less and more)",
        ),
    ] = (),
    length: Annotated[int, shown("steps of each short training", default="(default: 300)")] = 300,
    out: Annotated[Path | None, shown("write the curve into this file, an SVG", "FILE.svg")] = None,
    preset: Annotated[
        PresetName | None,
        shown("as for train", "{" + ",".join(PRESETS) + "}", "(default: paper)"),
    ] = None,
    init: Annotated[
        Path | None,
        shown("start from the weights of this run, model.safetensors or hf://owner/name", "MODEL"),
    ] = None,
    domains: Domains = None,
    aligned: AlignedFlag = None,
    skip_unreadable: Annotated[bool, shown("train without the images that cannot be read")] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Try learning rates in short trainings and suggest one; nothing of a run is touched."""
    from unpaired.storage import write_text
    from unpaired.tuning.lr_find import lr_find as run

    found = run(
        source(data),
        rates=rates,
        length=length,
        preset=preset,
        init=init,
        recipe=given(recipe),
        runtime=given(runtime),
        domains=domains,
        aligned=aligned,
        skip_unreadable=skip_unreadable,
        max_pixels=max_pixels,
    )
    print(found.to_text())
    if out is not None:
        write_text(out, found.to_svg())
        print(out)
