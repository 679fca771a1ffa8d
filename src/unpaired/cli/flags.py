"""The flags of the command line, those of recipe and runtime made of their fields."""

import dataclasses
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

from unpaired.config import Recipe, Runtime
from unpaired.errors import DataError
from unpaired.presets import PRESETS

__all__ = [
    "Data",
    "Device",
    "Engine",
    "EvaluatedSize",
    "EvaluationSeed",
    "FeaturesFile",
    "Limit",
    "LpipsFile",
    "MaxPixels",
    "RecipeFlags",
    "RuntimeFlags",
    "Threads",
    "given",
    "optional",
    "source",
]


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


def optional(kind: str, help: str, default: str = "") -> Any:
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
    int, arg(help="refuse images of more pixels than this, before they are decoded")
]
Engine = Annotated[
    Literal["auto", "torch", "jax"],
    arg(help="framework that translates (auto: the one that trained, where it is installed)"),
]
Device = Annotated[str, arg(help="auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps")]
Threads = Annotated[int, arg(help="threads of the arithmetic on a CPU (0: as many as cores)")]
FeaturesFile = Annotated[
    str | None,
    optional(
        "FILE",
        "weights for KID and FID: AlexNet, VGG16 or EfficientNet-Lite0; or inception (extra: fid)",
    ),
]
LpipsFile = Annotated[
    Path | None, optional("FILE", "LPIPS heads of AlexNet, whose weights --features then names")
]
EvaluatedSize = Annotated[
    int | None,
    optional("INT", "side in pixels to translate and compare at", "(that of the training)"),
]
Limit = Annotated[int, arg(help="test images of each domain at most, drawn by the seed (0: all)")]
EvaluationSeed = Annotated[int, arg(help="seed of all that is drawn here")]


def given(flags: Any) -> dict[str, object]:
    """What the user gave, by the names of the recipe or runtime."""
    given: dict[str, object] = {}
    for name, value in vars(flags).items():
        if value is True and name.startswith("no_"):
            given[name.removeprefix("no_")] = False
        elif value is not None and value is not False:
            given[name] = value
    return given


def source(data: tuple[str, ...]) -> str | tuple[str, str]:
    """The words of DATA as `find_source` takes them.

    Raises:
        DataError: more than two, or none.
    """
    if len(data) == 1:
        return data[0]
    if len(data) == 2:
        return (data[0], data[1])
    raise DataError(f"DATA is one folder or name, or two folders; {len(data)} were given")
