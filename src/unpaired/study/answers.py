"""Files of answers, as the page of a study gives them: read, checked, and counted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unpaired.console import log
from unpaired.directions import DIRECTIONS, Direction
from unpaired.errors import DataError, quoted, shown
from unpaired.storage import read_regular

__all__ = ["Answers", "Count", "read_answers"]

KIND, FORMAT = "answers of an unpaired study", 1
_MOST_BYTES, _MOST_TRIALS, _MOST_TEXT = 5_000_000, 10_000, 200


@dataclass(frozen=True)
class Count:
    """Answers after the practice, of one participant in one direction.

    `fooled`: how often the generated image was taken for the real one; `first`: how often the
    answer was "first".
    """

    fooled: int
    answers: int
    first: int


@dataclass(frozen=True)
class Answers:
    """One participant: the study and the session that they took part in, and what they answered.

    `names` are the domains (from, to) of each direction.
    """

    path: Path
    study: str
    session: str
    names: Mapping[Direction, tuple[str, str]]
    counts: Mapping[Direction, Count]


def read_answers(paths: Sequence[str | Path]) -> list[Answers]:
    """Reads files of answers to one study; a file that is given twice counts once.

    Raises:
        DataError: none is given, one is unreadable or is no file of answers, or they are of
            several studies.
    """
    found: dict[str, Answers] = {}
    for path in map(Path, paths):
        answers = _read(path)
        other = found.get(answers.session)
        if other is None:
            found[answers.session] = answers
        elif other.counts == answers.counts:
            log.warning(f"{shown(path)} has the answers of {shown(other.path)}: counted once")
        else:
            raise DataError(
                f"{shown(path)} and {shown(other.path)} have the session "
                f"{quoted(answers.session)} and other answers: one of them was changed"
            )
    if not found:
        raise DataError("no answers are given: give the files that the page saved")
    first = next(iter(found.values()))
    for answers in found.values():
        if answers.study != first.study:
            raise DataError(
                f"{shown(answers.path)} is of the study {quoted(answers.study)}, "
                f"{shown(first.path)} of {quoted(first.study)}: score them one by one"
            )
    return list(found.values())


def _read(path: Path) -> Answers:
    try:
        content = json.loads(read_regular(path, _MOST_BYTES))
    except OSError as error:
        raise DataError(f"{shown(path)} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{shown(path)} is not JSON: give files that the page saved") from error
    try:
        return _checked(path, content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{shown(path)} holds no answers of a study: give files that the page saved"
        ) from error


def _checked(path: Path, content: Any) -> Answers:
    """The answers in a file; anything unexpected is one of the errors that `_read` catches."""
    if content["kind"] != KIND or content["format"] != FORMAT:
        raise ValueError("another kind of file")
    trials = content["trials"]
    if not isinstance(trials, list) or len(trials) > _MOST_TRIALS:
        raise ValueError("no list of trials, or too many")
    told: dict[Direction, list[tuple[bool, str]]] = {d: [] for d in DIRECTIONS}
    for trial in trials:
        practice, real_first, answer = trial["practice"], trial["real_first"], trial["answer"]
        if not isinstance(practice, bool) or not isinstance(real_first, bool):
            raise ValueError("no yes or no")
        if answer not in ("first", "second"):
            raise ValueError("no answer")
        direction = _direction(trial["direction"])
        if not practice:
            told[direction].append(((answer == "first") != real_first, answer))
    counts = {
        direction: Count(
            sum(fooled for fooled, _ in answers),
            len(answers),
            sum(answer == "first" for _, answer in answers),
        )
        for direction, answers in told.items()
        if answers
    }
    names = {
        _direction(key): (_text(each["from"]), _text(each["to"]))
        for key, each in content["directions"].items()
    }
    if not counts or not set(counts) <= set(names):
        raise ValueError("no answers, or of unknown directions")
    return Answers(path, _text(content["study"]), _text(content["session"]), names, counts)


def _direction(text: object) -> Direction:
    for direction in DIRECTIONS:
        if text == direction:
            return direction
    raise ValueError("no direction")


def _text(text: object) -> str:
    if not isinstance(text, str) or not text.isprintable() or not 0 < len(text) <= _MOST_TEXT:
        raise ValueError("no short text")
    return text
