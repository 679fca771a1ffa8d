"""The command line: one function a verb. Parse, call, print."""

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeAlias,
    get_args,
    get_origin,
    get_type_hints,
)

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg
from tyro.extras import subcommand_cli_from_dict

from unpaired.config import DEFAULT_MAX_PIXELS, PRESETS, Recipe, Runtime
from unpaired.errors import DataError, SomeFailed, UnpairedError

__all__ = ["main"]


def _flags(kind: type, leave_out: set[str]) -> Any:
    """A dataclass of flags, one for each field of `kind`, None where the user gave nothing."""
    hints = get_type_hints(kind)
    fields: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(kind):
        if item.name in leave_out:
            continue
        hint: Any = hints[item.name]
        if hint is bool:
            fields.append(_switch(item))
            continue
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        metavar = "{" + ",".join(choices) + "}" if choices else hint.__name__.upper()
        told = arg(
            help=item.metadata["help"], metavar=metavar, help_behavior_hint=_default(kind, item)
        )
        fields.append((item.name, Annotated[hint | None, told], dataclasses.field(default=None)))
    return dataclasses.make_dataclass(kind.__name__ + "Flags", fields, frozen=True)


def _switch(item: "dataclasses.Field[Any]") -> tuple[str, Any, Any]:
    """The flag that turns a field on, or off where it is on by default."""
    name, verb = (f"no_{item.name}", "do not ") if item.default else (item.name, "")
    told = arg(help=verb + item.metadata["help"], help_behavior_hint="")
    return name, Annotated[bool, FlagCreatePairsOff, told], dataclasses.field(default=False)


def _default(kind: type, item: "dataclasses.Field[Any]") -> str:
    """What holds where a flag is not given; for the recipe, by preset."""
    if kind is Runtime:
        return f"(default: {item.default})" if item.default != "" else ""
    values = {name: getattr(recipe, item.name) for name, recipe in PRESETS.items()}
    if len(set(values.values())) > 1:
        return "(" + ", ".join(f"{name} {value}" for name, value in values.items()) + ")"
    return "" if "(0:" in item.metadata["help"] else f"(default: {item.default})"


if TYPE_CHECKING:
    RecipeFlags: TypeAlias = Any
    RuntimeFlags: TypeAlias = Any
else:
    RecipeFlags = OmitArgPrefixes[_flags(Recipe, {"preset", "epoch_steps", "data_fingerprint"})]
    RuntimeFlags = OmitArgPrefixes[_flags(Runtime, set())]


def _optional(kind: str, help: str, default: str = "") -> Any:
    """How a flag that may be left away is shown."""
    return arg(metavar=kind, help=help, help_behavior_hint=default)


Data = Annotated[
    tuple[str, ...],
    Positional,
    arg(
        metavar="DATA",
        help="a folder, a name of the catalogue, or two folders",
        help_behavior_hint="",
    ),
]
MaxPixels = Annotated[
    int, arg(help="refuse pictures of more pixels than this, before they are decoded")
]
Engine = Annotated[
    Literal["auto", "torch", "jax"],
    arg(help="framework that translates (auto: the one that trained, where it is installed)"),
]
Device = Annotated[str, arg(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps")]
Threads = Annotated[int, arg(help="threads of the arithmetic on a CPU (0: as many as cores)")]


def train(
    data: Data,
    out: Annotated[Path, arg(help="the run folder; a run of the same recipe in it goes on")],
    recipe: RecipeFlags,
    runtime: RuntimeFlags,
    preset: Annotated[
        Literal["paper", "small", "tiny"] | None,
        _optional(
            "{paper,small,tiny}",
            "paper: the recipe of 2017; small: photographs at 64 px; tiny: 32 px, in minutes",
            "(paper, or that of the run)",
        ),
    ] = None,
    epochs: Annotated[
        float | None, _optional("FLOAT", "passes over the larger domain, instead of --steps")
    ] = None,
    minutes: Annotated[
        float | None,
        _optional("FLOAT", "minutes, instead of --steps: 20 steps are timed, then they are fixed"),
    ] = None,
    extend: Annotated[int, arg(help="steps to add to a run that exists")] = 0,
    skip_unreadable: Annotated[
        bool, FlagCreatePairsOff, arg(help="go on without pictures that cannot be read")
    ] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Learn to translate between two domains, or go on with a run."""
    from unpaired.training.loop import train as run

    run(
        _source(data),
        out=out,
        preset=preset,
        recipe=_given(recipe),
        runtime=_given(runtime),
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
        _optional("INT", "longer side in pixels to translate at, scaled back to the input's size"),
    ] = None,
    format: Annotated[
        Literal["png", "jpg", "webp", "tiff", "bmp"] | None,
        _optional("{png,jpg,webp,tiff,bmp}", "file format of the results", "(as the inputs)"),
    ] = None,
    overwrite: Annotated[
        bool, FlagCreatePairsOff, arg(help="replace files that exist, the inputs too")
    ] = False,
    batch_size: Annotated[int, arg(help="pictures of one size translated together")] = 8,
    engine: Engine = "auto",
    device: Device = "auto",
    threads: Threads = 0,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Translate pictures, folders and globs to the other domain."""
    from unpaired.progress import Meter, counted
    from unpaired.translation.model import load
    from unpaired.translation.pictures import translate_files

    loaded = load(model, engine=engine, device=device, threads=threads)
    with Meter("pictures") as meter:
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
    print(f"{counted(len(summary.done), 'picture')} translated into {out}")
    if summary.failed:
        listed = "\n".join(f"  {path}: {reason}" for path, reason in summary.failed)
        raise SomeFailed(f"{counted(len(summary.failed), 'picture')} failed:\n{listed}")


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
        _optional(
            "{ab,ba}", "where a generator goes whose file has no G_A or G_B in its name", "(ab)"
        ),
    ] = None,
    name_a: Annotated[str, arg(help="name of domain a")] = "a",
    name_b: Annotated[str, arg(help="name of domain b")] = "b",
    overwrite: Annotated[bool, FlagCreatePairsOff, arg(help="replace a file that exists")] = False,
) -> None:
    """Make a model of .pth files of the original PyTorch code (G_A goes from A to B)."""
    from unpaired.translation.convert import import_original

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
    from unpaired.translation.convert import export_original

    for path in export_original(model, out, overwrite=overwrite):
        print(path)


def demo(
    out: Annotated[Path, arg(help="the folder for the run and its page")] = Path("runs/demo"),
    seed: Annotated[int, arg(help="seed of the training")] = 0,
    steps: Annotated[
        int | None, _optional("INT", "training steps", f"(default {PRESETS['tiny'].steps})")
    ] = None,
    engine: Annotated[
        Literal["torch", "jax"], arg(help="framework that trains and translates")
    ] = "torch",
) -> None:
    """Make pictures of summer and winter, learn to translate them, score it, write a page."""
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
    from unpaired.data.catalogue import obtain
    from unpaired.progress import Meter

    with Meter(name, unit="scenes") as meter:
        folder = obtain(name, progress=meter.show)
    print(folder)


def data_fetch(
    name: Annotated[str, Positional, arg(metavar="NAME", help="a name of `unpaired data list`")],
    url: Annotated[str | None, _optional("URL", "another address of the same zip file")] = None,
) -> None:
    """Download, verify and unpack a named data set; a broken download goes on."""
    from unpaired.data.catalogue import fetch
    from unpaired.progress import Meter

    with Meter(name, unit="bytes") as meter:
        fetched = fetch(name, url=url, progress=meter.show)
    print(f"{fetched.folder}\npictures: {fetched.counts}\nsha256: {fetched.sha256 or 'unknown'}")


def data_check(
    data: Data,
    image_size: Annotated[
        int | None, _optional("INT", "also list pictures smaller than this crop")
    ] = None,
    full: Annotated[bool, FlagCreatePairsOff, arg(help="list everything, however long")] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """List pictures that are unreadable, none at all, nearly flat, or there twice."""
    from unpaired.data.check import check
    from unpaired.progress import Meter, counted
    from unpaired.training.intake import find_source

    found = find_source(_source(data), need_train=False)
    with Meter("pictures") as meter:
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
            "Unpaired image-to-image translation: learn from two folders of unrelated pictures, "
            "translate both ways. `unpaired --version` tells the version."
        )
        subcommand_cli_from_dict(VERBS, prog="unpaired", description=told, args=words or ["--help"])


def _given(flags: Any) -> dict[str, object]:
    """What the user gave, by the names of the recipe or runtime."""
    given: dict[str, object] = {}
    for name, value in vars(flags).items():
        if value is True and name.startswith("no_"):
            given[name.removeprefix("no_")] = False
        elif value is not None and value is not False:
            given[name] = value
    return given


def _source(data: tuple[str, ...]) -> str | tuple[str, str]:
    if len(data) == 1:
        return data[0]
    if len(data) == 2:
        return (data[0], data[1])
    raise DataError(f"DATA is one folder or name, or two folders; {len(data)} were given")
