"""The command line: one function a verb. Parse, call, print."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg
from tyro.extras import subcommand_cli_from_dict

from unpaired.cli.flags import (
    Data,
    Device,
    Engine,
    EvaluatedSize,
    EvaluationSeed,
    FeaturesFile,
    Limit,
    LpipsFile,
    MaxPixels,
    RecipeFlags,
    RuntimeFlags,
    Threads,
    given,
    optional,
    source,
)
from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import ConfigError, SomeFailed, UnpairedError
from unpaired.presets import PRESETS

__all__ = ["main"]


def train(
    data: Data,
    out: Annotated[Path, arg(help="the run folder; a run of the same recipe in it goes on")],
    recipe: RecipeFlags,
    runtime: RuntimeFlags,
    preset: Annotated[
        Literal["paper", "small", "tiny"] | None,
        optional(
            "{paper,small,tiny}",
            "paper: the recipe of 2017; small: photographs at 64 px; tiny: 32 px, in minutes",
            "(paper, or that of the run)",
        ),
    ] = None,
    epochs: Annotated[
        float | None, optional("FLOAT", "passes over the larger domain, instead of --steps")
    ] = None,
    minutes: Annotated[
        float | None,
        optional("FLOAT", "minutes, instead of --steps: 20 steps are timed, then they are fixed"),
    ] = None,
    extend: Annotated[int, arg(help="steps to add to a run that exists")] = 0,
    skip_unreadable: Annotated[
        bool, FlagCreatePairsOff, arg(help="go on without images that cannot be read")
    ] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Learn to translate between two domains, or go on with a run."""
    from unpaired.training.loop import train as run

    run(
        source(data),
        out=out,
        preset=preset,
        recipe=given(recipe),
        runtime=given(runtime),
        epochs=epochs,
        minutes=minutes,
        extend=extend,
        skip_unreadable=skip_unreadable,
        max_pixels=max_pixels,
    )


def translate(
    model: Annotated[
        Path, Positional, arg(metavar="MODEL", help="a run folder or a model.safetensors")
    ],
    inputs: Annotated[
        tuple[str, ...],
        Positional,
        arg(metavar="INPUT...", help="files, folders or globs", help_behavior_hint=""),
    ],
    to: Annotated[str, arg(help="the domain to translate to: its name, or a or b")],
    out: Annotated[Path, arg(help="the folder for the results; nothing is written elsewhere")],
    working_size: Annotated[
        int | None,
        optional("INT", "longer side in pixels to translate at, scaled back to the input's size"),
    ] = None,
    format: Annotated[
        Literal["png", "jpg", "webp", "tiff", "bmp"] | None,
        optional("{png,jpg,webp,tiff,bmp}", "file format of the results", "(as the inputs)"),
    ] = None,
    overwrite: Annotated[
        bool, FlagCreatePairsOff, arg(help="replace files that exist, the inputs too")
    ] = False,
    batch_size: Annotated[int, arg(help="images of one size translated together")] = 8,
    engine: Engine = "auto",
    device: Device = "auto",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Translate images, folders and globs to the other domain."""
    from unpaired.console import Meter, counted
    from unpaired.translation.files import translate_files
    from unpaired.translation.model import load

    loaded = load(model, engine=engine, device=device, threads=threads)
    with Meter("images") as meter:
        summary = translate_files(
            loaded,
            inputs,
            out,
            to=to,
            working_size=working_size,
            format=format,
            overwrite=overwrite,
            batch_size=batch_size,
            max_pixels=max_pixels,
            progress=meter.show,
        )
    print(f"{counted(len(summary.done), 'image')} translated into {out}")
    if summary.failed:
        listed = "\n".join(f"  {path}: {reason}" for path, reason in summary.failed)
        raise SomeFailed(f"{counted(len(summary.failed), 'image')} failed:\n{listed}")


def import_(
    files: Annotated[
        tuple[Path, ...],
        Positional,
        arg(
            metavar="FILE...",
            help="latest_net_G_A.pth, latest_net_G_B.pth and so on, or one generator",
            help_behavior_hint="",
        ),
    ],
    out: Annotated[Path, arg(help="the model file to write, such as model.safetensors")],
    direction: Annotated[
        Literal["ab", "ba"] | None,
        optional(
            "{ab,ba}", "where a generator goes whose file has no G_A or G_B in its name", "(ab)"
        ),
    ] = None,
    name_a: Annotated[str, arg(help="name of domain a")] = "a",
    name_b: Annotated[str, arg(help="name of domain b")] = "b",
    overwrite: Annotated[bool, FlagCreatePairsOff, arg(help="replace a file that exists")] = False,
) -> None:
    """Make a model of .pth files of the original PyTorch code (G_A goes from A to B)."""
    from unpaired.weights.convert import import_original

    networks = import_original(
        files,
        out,
        direction=direction,
        name_a=name_a,
        name_b=name_b,
        overwrite=overwrite,
    )
    for name, network in networks.items():
        print(f"{name}: {network} ({network.source})")
    to = name_b if "generator_ab" in networks else name_a
    print(
        f"written: unpaired translate {shlex.quote(str(out))} PICTURES --to {shlex.quote(to)} "
        "--out FOLDER",
        file=sys.stderr,
    )


def export(
    model: Annotated[
        Path, Positional, arg(metavar="MODEL", help="a run folder, a model or a checkpoint")
    ],
    format: Annotated[
        Literal["original"],
        arg(metavar="{original}", help="original: .pth files that the code of 2017 loads"),
    ],
    out: Annotated[Path, arg(help="the folder for latest_net_G_A.pth and so on")],
    overwrite: Annotated[bool, FlagCreatePairsOff, arg(help="replace files that exist")] = False,
) -> None:
    """Write a model's weights for other code."""
    from unpaired.weights.convert import export_original

    for path in export_original(model, out, overwrite=overwrite):
        print(path)


def evaluate(
    model: Annotated[
        Path, Positional, arg(metavar="MODEL", help="a run folder or a model.safetensors")
    ],
    data: Data,
    out: Annotated[
        Path | None, optional("PATH", "the folder for the report", "(MODEL/report of a run)")
    ] = None,
    features: FeaturesFile = None,
    lpips: LpipsFile = None,
    image_size: EvaluatedSize = None,
    limit: Limit = 0,
    seed: EvaluationSeed = 0,
    engine: Engine = "auto",
    device: Device = "auto",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Measure how good a model is, with floors, baselines and warnings; write a report page."""
    from unpaired.evaluation.evaluate import evaluate as run
    from unpaired.report.files import as_text, write_report

    if out is None and model.is_file():
        raise ConfigError(f"{model} is no run folder: give --out, the folder for the report")
    report = run(
        model,
        source(data),
        features=features,
        lpips=lpips,
        image_size=image_size,
        limit=limit,
        seed=seed,
        engine=engine,
        device=device,
        threads=threads,
        max_pixels=max_pixels,
    )
    page = write_report(report, out or model / "report")
    print(f"{as_text(report)}\n\n{page}")


def compare(
    models: Annotated[
        tuple[Path, ...],
        Positional,
        arg(metavar="MODEL MODEL...", help="run folders or weights files", help_behavior_hint=""),
    ],
    data: Annotated[
        str, arg(metavar="DATA", help="the test images: a folder or a name of the catalogue")
    ],
    out: Annotated[Path, arg(help="the folder for the report")],
    features: FeaturesFile = None,
    lpips: LpipsFile = None,
    image_size: EvaluatedSize = None,
    limit: Limit = 0,
    seed: EvaluationSeed = 0,
    engine: Engine = "auto",
    device: Device = "auto",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Measure several models on the same images, side by side; write a report page."""
    from unpaired.evaluation.evaluate import compare as run
    from unpaired.report.files import as_text, write_report

    report = run(
        models,
        data,
        features=features,
        lpips=lpips,
        image_size=image_size,
        limit=limit,
        seed=seed,
        engine=engine,
        device=device,
        threads=threads,
        max_pixels=max_pixels,
    )
    page = write_report(report, out)
    print(f"{as_text(report)}\n\n{page}")


def demo(
    out: Annotated[Path, arg(help="the folder for the run and its page")] = Path("runs/demo"),
    seed: Annotated[int, arg(help="seed of the training")] = 0,
    steps: Annotated[
        int | None, optional("INT", "training steps", f"(default {PRESETS['tiny'].steps})")
    ] = None,
    engine: Annotated[
        Literal["torch", "jax"], arg(help="framework that trains and translates")
    ] = "torch",
) -> None:
    """Make images of summer and winter, learn to translate them, score it, write a page."""
    from unpaired.demo import demo as run

    run(out, seed=seed, steps=steps, runtime={"engine": engine})


def data_list() -> None:
    """The named data sets, and which are here."""
    from unpaired.data.catalogue import listing

    print(listing())


def data_make(
    name: Annotated[str, Positional, arg(metavar="NAME", help="seasons-lite or seasons")],
) -> None:
    """Make a data set that is drawn on this machine."""
    from unpaired.console import Meter
    from unpaired.data.catalogue import obtain

    with Meter(name, unit="scenes") as meter:
        folder = obtain(name, progress=meter.show)
    print(folder)


def data_fetch(
    name: Annotated[str, Positional, arg(metavar="NAME", help="a name of `unpaired data list`")],
    url: Annotated[str | None, optional("URL", "another address of the same zip file")] = None,
) -> None:
    """Download, verify and unpack a named data set; a broken download goes on."""
    from unpaired.console import Meter
    from unpaired.data.catalogue import fetch

    with Meter(name, unit="bytes") as meter:
        fetched = fetch(name, url=url, progress=meter.show)
    print(f"{fetched.folder}\nimages: {fetched.counts}\nsha256: {fetched.sha256 or 'unknown'}")


def data_check(
    data: Data,
    image_size: Annotated[
        int | None, optional("INT", "also list images smaller than this crop")
    ] = None,
    full: Annotated[bool, FlagCreatePairsOff, arg(help="list everything, however long")] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """List images that are unreadable, none at all, nearly flat, or there twice."""
    from unpaired.console import Meter, counted
    from unpaired.data.check import check
    from unpaired.data.source import find_source

    found = find_source(source(data), need_train=False)
    with Meter("images") as meter:
        findings = check(found, crop=image_size, max_pixels=max_pixels, progress=meter.show)
    print(findings.report(full=full))
    if findings.stopping:
        raise SomeFailed(f"{counted(len(findings.stopping), 'finding')} would stop a training")


def data() -> None:
    """Named data sets, and checking one's own: data list, make, fetch, check."""
    _dispatch(["data"])


VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "translate": translate,
    "evaluate": evaluate,
    "compare": compare,
    "import": import_,
    "export": export,
    "data": data,
}
DATA_VERBS: dict[str, Callable[..., None]] = {
    "list": data_list,
    "make": data_make,
    "fetch": data_fetch,
    "check": data_check,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 1 (some failed), 2 (refused) or 130."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except UnpairedError as error:
        if os.environ.get("UNPAIRED_DEBUG") == "1":
            raise
        print(f"unpaired: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("unpaired: interrupted", file=sys.stderr)
        return 130
    return 0


def _dispatch(words: list[str]) -> None:
    if words[:1] == ["--version"]:
        print(f"unpaired {version('unpaired')}")
    elif words[:1] == ["data"]:
        told = "Named data sets, and checking one's own."
        subcommand_cli_from_dict(
            DATA_VERBS, prog="unpaired data", description=told, args=words[1:] or ["--help"]
        )
    else:
        told = (
            "Unpaired image-to-image translation: learn from two folders of unrelated images, "
            "translate both ways. `unpaired --version` tells the version."
        )
        subcommand_cli_from_dict(VERBS, prog="unpaired", description=told, args=words or ["--help"])
