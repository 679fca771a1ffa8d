"""The command line: its parser, and exit codes. Each verb has a file of its own."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, TypeAlias

import tyro
from tyro.conf import CascadeSubcommandArgs, FlagCreatePairsOff, OmitArgPrefixes

from unpaired.cli.convert import export, import_
from unpaired.cli.data import data
from unpaired.cli.demo import demo
from unpaired.cli.evaluate import compare, evaluate
from unpaired.cli.flags import Verb, shown, verbs
from unpaired.cli.train import train
from unpaired.cli.translate import translate
from unpaired.errors import ConfigError, UnpairedError

__all__ = ["main"]

ABOUT = (
    "Unpaired image-to-image translation: learn from two folders of unrelated\n"
    "images, then translate in both directions.\n\n"
    "Shell completion: unpaired --tyro-print-completion {bash,zsh,fish,tcsh}"
)

if TYPE_CHECKING:
    AnyVerb: TypeAlias = Verb
else:
    AnyVerb = verbs(demo, train, translate, evaluate, compare, import_, export, data)


@dataclass(frozen=True)
class Output:
    """Flags of every verb; they may stand before or after its name."""

    quiet: Annotated[bool, CascadeSubcommandArgs, shown("show warnings and errors only")] = False
    verbose: Annotated[bool, CascadeSubcommandArgs, shown("show details too")] = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Returns:
        0: done; 1: some inputs failed; 2: rejected, nothing was lost; 130: interrupted; 141: the
        reader of the output has gone.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _run(words)
    except UnpairedError as error:
        if os.environ.get("UNPAIRED_DEBUG") == "1":
            raise
        print(f"unpaired: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        print("unpaired: interrupted", file=sys.stderr)
        return 130
    return 0


def _run(words: list[str]) -> None:
    named = [word for word in words if word not in ("--quiet", "--verbose")]
    if named[:1] == ["--version"]:  # the parser would ask for a verb
        print(f"unpaired {version('unpaired')}")
        return
    if named in ([], ["data"]):
        words = [*words, "--help"]
    verb, output = tyro.cli(
        _parsed, prog="unpaired", description=ABOUT, args=words, config=(FlagCreatePairsOff,)
    )
    if output.quiet and output.verbose:
        raise ConfigError("--quiet and --verbose exclude each other: give one of them")

    from unpaired import console

    console.show("quiet" if output.quiet else "verbose" if output.verbose else "normal")
    verb()


def _parsed(
    verb: AnyVerb,
    output: OmitArgPrefixes[Output],
    version: Annotated[bool, shown("print the version")] = False,
) -> tuple[Verb, Output]:
    return verb, output
