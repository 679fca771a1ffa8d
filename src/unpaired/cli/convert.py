"""`unpaired import` and `unpaired export`."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from unpaired.cli.flags import shown
from unpaired.directions import Direction

__all__ = ["export", "import_"]


def import_(
    files: Annotated[
        tuple[Path, ...],
        Positional,
        shown("latest_net_G_A.pth, latest_net_G_B.pth and so on, or one generator", "FILE..."),
    ],
    out: Annotated[Path, shown("the model file to write, such as model.safetensors")],
    direction: Annotated[
        Direction | None,
        shown(
            "direction of a generator whose file name lacks G_A or G_B", "{ab,ba}", "(default: ab)"
        ),
    ] = None,
    name_a: Annotated[str, arg(metavar="NAME", help="name of domain a")] = "a",
    name_b: Annotated[str, arg(metavar="NAME", help="name of domain b")] = "b",
    overwrite: Annotated[bool, shown("replace an existing file")] = False,
) -> None:
    """Make a model from the original PyTorch code's .pth files (G_A: from a to b)."""
    from unpaired.console import log
    from unpaired.weights.convert import import_original

    networks = import_original(
        files, out, direction=direction, name_a=name_a, name_b=name_b, overwrite=overwrite
    )
    for name, network in networks.items():
        print(f"{name}: {network} ({network.source})")
    to = shlex.quote(name_b if "generator_ab" in networks else name_a)
    log.info(f"written: unpaired translate {shlex.quote(str(out))} IMAGES --to {to} --out FOLDER")


def export(
    model: Annotated[Path, Positional, shown("a run folder, a model or a checkpoint", "MODEL")],
    format: Annotated[
        Literal["original"], shown("original: .pth files that the code of 2017 loads", "{original}")
    ],
    out: Annotated[Path, shown("the folder for latest_net_G_A.pth and so on")],
    overwrite: Annotated[bool, shown("replace existing files")] = False,
) -> None:
    """Write a model's weights in a format of other code."""
    from unpaired.weights.convert import export_original

    for path in export_original(model, out, overwrite=overwrite):
        print(path)
