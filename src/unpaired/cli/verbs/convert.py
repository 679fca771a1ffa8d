"""`unpaired import` and `unpaired export`."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from unpaired.cli.flags import Threads, shown, source
from unpaired.directions import Direction
from unpaired.errors import ConfigError

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
        Literal["onnx", "original"],
        shown(
            "onnx: one file a direction, for any program that runs ONNX; original: .pth files that "
            "the code of 2017 loads",
            "{onnx,original}",
        ),
    ],
    out: Annotated[Path, shown("the folder for model-ab.onnx or latest_net_G_A.pth and so on")],
    quantise: Annotated[
        Literal["int8"] | None,
        shown("onnx: compute in 8 bits, which --images calibrates", "{int8}"),
    ] = None,
    images: Annotated[
        tuple[str, ...],
        shown("onnx: a data set, as for train, to verify and calibrate on", "DATA"),
    ] = (),
    threads: Threads = 0,
    overwrite: Annotated[bool, shown("replace existing files")] = False,
) -> None:
    """Write a model's weights in a format of other code."""
    if format == "onnx":
        from unpaired.weights.onnx import export_onnx

        for exported in export_onnx(
            model,
            out,
            quantise=quantise,
            images=source(images) if images else None,
            threads=threads,
            overwrite=overwrite,
        ):
            print(exported.path)
            for difference in exported.differences:
                print(f"  greatest difference to the engine {difference}")
        return
    if quantise or images:
        raise ConfigError("--quantise and --images are for --format onnx: omit them")

    from unpaired.weights.convert import export_original

    for path in export_original(model, out, overwrite=overwrite):
        print(path)
