"""The flags of the command line, made of the fields of Recipe, Runtime and Options."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, Union

from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from unpaired.config import Recipe, Runtime, choices_of
from unpaired.directions import Aligned
from unpaired.errors import ConfigError, DataError
from unpaired.evaluation.options import OptionKeywords, Options
from unpaired.presets import PRESETS
from unpaired.serving.limits import ServeLimits
from unpaired.training.keywords import RecipeKeywords, RuntimeKeywords

__all__ = [
    "AlignedFlag",
    "Alpha",
    "Data",
    "Device",
    "Domains",
    "Engine",
    "ExecutedBy",
    "FileFormat",
    "Frames",
    "LimitFlags",
    "MaxPixels",
    "ModelAlpha",
    "ModelFrames",
    "ModelPath",
    "OptionFlags",
    "Precision",
    "RecipeFlags",
    "RuntimeFlags",
    "Threads",
    "Verb",
    "WorkingSize",
    "given",
    "shown",
    "source",
    "verbs",
]

Verb: TypeAlias = Callable[[], None]
"""A verb with its arguments, parsed and not yet called."""


def verbs(*functions: Callable[..., None]) -> Any:
    """The type of a parameter that is one of several verbs, each named like its function."""
    options = []
    for function in functions:
        bound = update_wrapper(partial(partial, function), function)  # binds arguments, calls not
        name = function.__name__.rstrip("_").replace("_", "-")
        about = subcommand(name, constructor=bound, description=function.__doc__)
        options.append(Annotated[Any, about])
    return Annotated[Union[tuple(options)], arg(name="")]  # noqa: UP007


def shown(help: str, metavar: str | None = None, default: str = "") -> Any:
    """How the help shows a flag, where nothing is said of its default unless `default` does."""
    return arg(help=help, metavar=metavar, help_behavior_hint=default)


def _shown(kind: type, name: str) -> Any:
    """How the help shows the flag of a field: what it takes, and its default."""
    (item,) = (item for item in dataclasses.fields(kind) if item.name == name)
    choices = ",".join(map(str, choices_of(item)))
    metavar = item.metadata["metavar"] or type(item.default).__name__.upper()
    default = item.metadata["shown"] or _default(kind, item)
    return shown(item.metadata["help"], f"{{{choices}}}" if choices else metavar, default)


def _default(kind: type, item: "dataclasses.Field[Any]") -> str:
    """The default of a flag; for the recipe, by preset. Empty where the help explains 0."""
    presets = PRESETS if kind is Recipe else {}
    values = {name: getattr(recipe, item.name) for name, recipe in presets.items()}
    if len(set(values.values())) > 1:
        return "(" + ", ".join(f"{name} {value}" for name, value in values.items()) + ")"
    unset = item.default is None or (item.default == 0 and "(0: " in item.metadata["help"])
    return "" if unset else f"(default: {item.default})"


def _flags(kind: type, names: Mapping[str, Any]) -> Any:
    """A dataclass of flags for the named fields of `kind`, None where the user gave nothing."""
    fields: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(kind):
        name, help = item.name, item.metadata["help"]
        hint: Any = names.get(name, item.type)
        if name in names and (negative := item.metadata["negative"]):
            # True, false or neither: two flags, neither of them given by default.
            default = item.metadata["shown"]
            for flag, text, shown_default in ((name, help, default), (f"un{name}", negative, "")):
                about = shown(text, default=shown_default)
                fields.append((flag, Annotated[bool, about], dataclasses.field(default=False)))
            continue
        if name in names and hint is bool:  # the flag turns it on, or off where it is on by default
            name, help = (f"no_{name}", f"do not {help}") if item.default else (name, help)
            fields.append((name, Annotated[bool, shown(help)], dataclasses.field(default=False)))
        elif name in names:
            taken: Any = Annotated[hint | None, _shown(kind, name)]
            fields.append((name, taken, dataclasses.field(default=None)))
    return dataclasses.make_dataclass(kind.__name__ + "Flags", fields, frozen=True)


if TYPE_CHECKING:
    RecipeFlags: TypeAlias = Any
    RuntimeFlags: TypeAlias = Any
    OptionFlags: TypeAlias = Any
    LimitFlags: TypeAlias = Any
else:
    RecipeFlags = OmitArgPrefixes[_flags(Recipe, RecipeKeywords.__annotations__)]
    RuntimeFlags = OmitArgPrefixes[_flags(Runtime, RuntimeKeywords.__annotations__)]
    OptionFlags = OmitArgPrefixes[_flags(Options, OptionKeywords.__annotations__)]
    LimitFlags = OmitArgPrefixes[_flags(ServeLimits, ServeLimits.__annotations__)]

Data = Annotated[
    tuple[str, ...],
    Positional,
    shown("a folder, two folders, or a name from `unpaired data list`", "DATA"),
]
ModelPath = Annotated[
    Path,
    Positional,
    shown("a run folder, a model.safetensors, an exported .onnx, or hf://owner/name", "MODEL"),
]
ExecutedBy = Annotated[
    Literal["auto", "engine", "onnx", "openvino"],
    shown(
        "what executes the networks: an engine, onnxruntime or OpenVINO (extras onnx, openvino)",
        "{engine,onnx,openvino}",
        "(default: onnx for .onnx files, else engine)",
    ),
]
Engine = Annotated[Literal["auto", "torch", "jax"], _shown(Options, "engine")]
Device = Annotated[str, _shown(Options, "device")]
Threads = Annotated[int, _shown(Options, "threads")]
Precision = Annotated[
    Literal["auto", "recipe", "fp32", "bf16"],
    shown(
        "arithmetic of the convolutions: the fastest within 1.5 levels of 255 of fp32 (auto), as "
        "trained (recipe), fp32 or bf16",
        "{auto,recipe,fp32,bf16}",
        "(default: auto)",
    ),
]
WorkingSize = Annotated[
    int | None,
    shown("translate at this longer side in pixels, then resize to the input's size", "INT"),
]
FileFormat = Annotated[
    str | None,
    shown("file format of the results, such as png or tiff", "FORMAT", "(default: as inputs)"),
]
ModelAlpha = Annotated[
    Literal["auto", "mask", "band"] | None,
    shown(
        "what a last band marked as transparency is",
        "{auto,mask,band}",
        "(default: as in training)",
    ),
]
ModelFrames = Annotated[
    Literal["reject", "first"] | None,
    shown("files of several frames", "{reject,first}", "(default: as in training)"),
]
Alpha = Annotated[Literal["auto", "mask", "band"], _shown(Recipe, "alpha")]
Frames = Annotated[Literal["reject", "first"], _shown(Recipe, "frames")]
Domains = Annotated[tuple[str, str] | None, _shown(Options, "domains")]
AlignedFlag = Annotated[Aligned | None, _shown(Options, "aligned")]
MaxPixels = Annotated[int, _shown(Options, "max_pixels")]


def given(flags: Any) -> dict[str, Any]:
    """The values that the user gave, by their names in the recipe, runtime or options.

    Raises:
        ConfigError: a flag and its opposite.
    """
    given: dict[str, Any] = {}
    for name, value in vars(flags).items():
        if value is True and name.startswith("no_"):
            given[name.removeprefix("no_")] = False
        elif value is True and name.startswith("un") and hasattr(flags, name[2:]):
            if getattr(flags, opposite := name[2:]):
                raise ConfigError(f"--{opposite} and --{name} exclude each other: give one of them")
            given[opposite] = False
        elif value is not None and value is not False:
            given[name] = value
    return given


def source(data: tuple[str, ...]) -> str | tuple[str, str]:
    """The words of DATA as `find_source` takes them.

    Raises:
        DataError: none, or more than two.
    """
    if len(data) == 1:
        return data[0]
    if len(data) == 2:
        return (data[0], data[1])
    raise DataError(f"DATA is one folder or name, or two folders; {len(data)} were given")
