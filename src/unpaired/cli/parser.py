"""The parser of the command line: the verbs, and the flags that all of them have."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro
from tyro.conf import CascadeSubcommandArgs, FlagCreatePairsOff, OmitArgPrefixes

from unpaired.cli.flags import Verb, shown, verbs
from unpaired.cli.verbs.bench import bench
from unpaired.cli.verbs.convert import export, import_
from unpaired.cli.verbs.data import data
from unpaired.cli.verbs.demo import demo
from unpaired.cli.verbs.evaluate import compare, evaluate, study
from unpaired.cli.verbs.fleet import fleet
from unpaired.cli.verbs.lr_find import lr_find
from unpaired.cli.verbs.push import push
from unpaired.cli.verbs.serve import serve
from unpaired.cli.verbs.train import train
from unpaired.cli.verbs.translate import translate
from unpaired.errors import ConfigError, quoted

__all__ = ["parse"]

ABOUT = (
    "Unpaired image-to-image translation: learn from two folders of unrelated\n"
    "images, then translate in both directions.\n\n"
    "Shell completion: unpaired --tyro-print-completion {bash,zsh,fish,tcsh}"
)
_LONGEST_NAME, _LONGEST_PATH = 255, 4096  # characters: of file systems

if TYPE_CHECKING:
    AnyVerb: TypeAlias = Verb
else:
    AnyVerb = verbs(
        demo,
        train,
        translate,
        fleet,
        evaluate,
        compare,
        study,
        lr_find,
        import_,
        export,
        push,
        serve,
        data,
        bench,
    )


@dataclass(frozen=True)
class Output:
    """Flags of every verb; they may stand before or after its name."""

    quiet: Annotated[bool, CascadeSubcommandArgs, shown("show warnings and errors only")] = False
    verbose: Annotated[bool, CascadeSubcommandArgs, shown("show details too")] = False


def parse(words: Sequence[str]) -> Verb:
    """The verb that `words` ask for, to be called; what it shows is set.

    Raises:
        ConfigError: flags that exclude each other, or a word longer than any name or path.
        SystemExit: help was asked for, or the words are none of the command line; both are printed.
    """
    named = [word for word in words if word not in ("--quiet", "--verbose")]
    if named[:1] == ["--version"]:  # the parser would ask for a verb
        return lambda: print(f"unpaired {version('unpaired')}")
    if named in ([], ["data"], ["study"]):
        words = [*words, "--help"]
    elif named[0] == "study" and named[1] not in ("make", "score", "-h", "--help"):
        at = words.index("study") + 1
        words = [*words[:at], "make", *words[at:]]
    for word in words:
        _require_short(word)
    verb, output = tyro.cli(
        _parsed, prog="unpaired", description=ABOUT, args=words, config=(FlagCreatePairsOff,)
    )
    if output.quiet and output.verbose:
        raise ConfigError("--quiet and --verbose exclude each other: give one of them")

    from unpaired import console
    from unpaired.engines.processes import find_place

    verbosity: console.Verbosity = "normal"
    if output.quiet or output.verbose:
        verbosity = "quiet" if output.quiet else "verbose"
    console.show(verbosity, rank=find_place().rank if named[:1] == ["train"] else 0)
    return verb


def _parsed(
    verb: AnyVerb,
    output: OmitArgPrefixes[Output],
    version: Annotated[bool, shown("print the version")] = False,
) -> tuple[Verb, Output]:
    return verb, output


def _require_short(word: str) -> None:
    """Requires that a word could be a name, a number or a path: the parser repeats it whole."""
    flag, equals, given = word.partition("=") if word.startswith("--") else ("", "", word)
    value = given if equals or not flag else flag
    if len(value) > (_LONGEST_PATH if "/" in value else _LONGEST_NAME):
        raise ConfigError(
            f"the argument {quoted(word)} has {len(word):,} characters: names have at most "
            f"{_LONGEST_NAME}, paths {_LONGEST_PATH}"
        )
