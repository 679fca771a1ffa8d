"""`unpaired import` and `unpaired export`."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from unpaired.cli.flags import Threads, shown, source
from unpaired.directions import Direction
from unpaired.errors import ConfigError

if TYPE_CHECKING:
    from unpaired.weights.onnx import Exported

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
        Literal["onnx", "original", "web"],
        shown(
            "onnx: one file a direction, for any program that runs ONNX; original: .pth files that "
            "the code of 2017 loads; web: a page that translates in the browser, for any host",
            "{onnx,original,web}",
        ),
    ],
    out: Annotated[Path, shown("the folder for model-ab.onnx or latest_net_G_A.pth and so on")],
    quantise: Annotated[
        Literal["int8"] | None,
        shown("onnx: compute in 8 bits, which --images calibrates", "{int8}"),
    ] = None,
    images: Annotated[
        tuple[str, ...],
        shown("onnx, web: a data set, as for train, to verify and calibrate on", "DATA"),
    ] = (),
    sample: Annotated[
        bool, shown("web: show the latest image of the run's progress, which has training images")
    ] = False,
    runtime_files: Annotated[
        Path | None,
        shown("web: the folder of onnxruntime-web's files", "DIR", "(default: fetched once)"),
    ] = None,
    threads: Threads = 0,
    overwrite: Annotated[bool, shown("replace existing files")] = False,
) -> None:
    """Write a model's weights in a format of other code, or as a page."""
    if format != "web" and (sample or runtime_files):
        raise ConfigError("--sample and --runtime-files are for --format web: omit them")
    data = source(images) if images else None
    if format == "onnx":
        from unpaired.weights.onnx import export_onnx

        _tell(export_onnx(
            model, out, quantise=quantise, images=data, threads=threads, overwrite=overwrite
        ))  # fmt: skip
        return
    if quantise:
        raise ConfigError("--quantise and --images are for --format onnx: omit them")
    if format == "web":
        from unpaired.console import log
        from unpaired.web.export import export_web

        page = export_web(
            model, out, runtime_files=runtime_files, sample=sample, images=data, threads=threads,
            overwrite=overwrite,
        )  # fmt: skip
        _tell(page.networks)
        print(f"{page.folder / 'index.html'}: {page.bytes / 1e6:.1f} MB in all")
        folder = shlex.quote(str(out))
        log.info(f"to look: python3 -m http.server --bind 127.0.0.1 --directory {folder}")
        return
    if images:
        raise ConfigError("--quantise and --images are for --format onnx: omit them")

    from unpaired.weights.convert import export_original

    for path in export_original(model, out, overwrite=overwrite):
        print(path)


def _tell(networks: Iterable["Exported"]) -> None:
    """Prints the files of an export, and how far they are from the engine."""
    for exported in networks:
        print(exported.path)
        for difference in exported.differences:
            print(f"  greatest difference to the engine {difference}")
