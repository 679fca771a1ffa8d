"""The processes of one training: the place of each, and what they tell each other.

`torchrun` and its like start the same command several times and number the processes in the
environment. Each computes its share of every batch; the first alone writes and speaks.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from unpaired.errors import ConfigError, RunError, quoted

__all__ = ["ALONE", "Alone", "Place", "Processes", "find_place", "require_equal"]

_MOST = 100_000  # processes
_NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """The place of this process: its `rank` of `count`, from 0, and its rank on its machine.

    The processes meet at `host` and `port`. `held` is true where the program that started them
    listens there already, as `torchrun` does.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    host: str = ""
    port: int = 0
    held: bool = False

    @property
    def shard(self) -> tuple[int, int]:
        """Which part of a batch this process has: (index, count)."""
        return self.rank, self.count


class Processes(Protocol):
    """The processes of a training. All call each method at the same point of their work."""

    @property
    def place(self) -> Place:
        """The place of this process."""

    def share(self, text: str) -> str:
        """The text of the first process, in all of them; the texts of the others are ignored.

        Raises:
            RunError: another process has ended.
        """

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """The sums of the numbers of all processes, in double precision, equal in all.

        Raises:
            RunError: another process has ended.
        """

    def close(self, error: BaseException | None = None) -> None:
        """Leaves: together with the others, or alone with an `error`, which ends the others.

        A first process that has shared nothing shares an empty text instead: its error came before
        there was any work.
        """


class Alone:
    """One process, which has every batch whole. See Processes."""

    place = Place()

    def share(self, text: str) -> str:
        """See Processes.share."""
        return text

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """See Processes.sum."""
        return list(numbers)

    def close(self, error: BaseException | None = None) -> None:
        """See Processes.close."""


ALONE = Alone()


def find_place(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that the environment gives this process; alone where it names fewer than two.

    >>> find_place({"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"})
    Place(rank=1, count=4, local_rank=1, host='node1', port=29500, held=False)

    Raises:
        ConfigError: a variable is missing, or is not what it should be.
    """
    if environment.get("WORLD_SIZE", "1") in ("", "0", "1"):
        return Place()
    for name in _NAMES:
        if not environment.get(name):
            raise ConfigError(
                f"WORLD_SIZE is set and {name} is not: start with torchrun, or set "
                f"{', '.join(_NAMES)} for each process"
            )
    count = _number(environment, "WORLD_SIZE", _MOST)
    rank = _number(environment, "RANK", count - 1)
    return Place(
        rank=rank,
        count=count,
        local_rank=_number(environment, "LOCAL_RANK", _MOST)
        if "LOCAL_RANK" in environment
        else rank,
        host=environment["MASTER_ADDR"],
        port=_number(environment, "MASTER_PORT", 65_535),
        held=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _number(environment: Mapping[str, str], name: str, most: int) -> int:
    text = environment[name]
    if text.isascii() and text.isdecimal() and len(text) < 10 and int(text) <= most:
        return int(text)
    raise ConfigError(f"{name} is {quoted(text)}: it must be a number from 0 to {most}")


def require_equal(processes: Processes, state: Mapping[str, Any]) -> None:
    """Requires that all but the pools of a state (arrays by name) is equal in all processes.

    Before the first update, when engines may hold anything, nothing is required.

    Raises:
        RunError: it is not, in any of them; all raise it.
    """
    if not state["updates"]:
        return
    code = 0
    for name in sorted(state):
        if not name.startswith("pool_"):
            code = zlib.crc32(state[name], code)
    differs = processes.sum([float(code)])[0] != code * processes.place.count
    if processes.sum([float(differs)])[0]:
        raise RunError(
            "the weights of the processes are no longer equal, so they were not saved: run the "
            "same command to resume from the last checkpoint, on equal devices and versions"
        )
