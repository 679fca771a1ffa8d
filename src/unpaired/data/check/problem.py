"""The kinds of problems that the check of a data set lists."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["MEANING", "Problem", "ProblemKind"]

ProblemKind = Literal[
    "unreadable",
    "not an image",
    "several frames",
    "mixed bands",
    "mixed bits",
    "in train and test",
    "in both domains",
    "duplicate",
    "small",
    "flat",
    "first frame",
    "ignored",
]
"""The kinds of problems, the most serious first. The first four stop a training."""

MEANING: dict[ProblemKind, str] = {
    "unreadable": "cannot be decoded; stops a training",
    "not an image": "the suffix of an image but other content; stops a training",
    "several frames": "pages or an animation; stops a training, or give --frames first",
    "mixed bands": "other bands than the rest of the domain; stops a training",
    "mixed bits": "other bits than the rest of the domain; one image of 16 has all trained in 16",
    "in train and test": "seen in training, so test metrics are too good",
    "in both domains": "the same image in A and in B",
    "duplicate": "more than once in a folder, so weighs more than others",
    "small": "smaller than the crop, so enlarged",
    "flat": "hardly varies, so instance norm amplifies its noise",
    "first frame": "of several frames (pages, an animation) only the first is used, as asked",
    "ignored": "not the suffix of an image, so not read",
}


@dataclass(frozen=True)
class Problem:
    """A problem of one image, or of a group of equal images."""

    kind: ProblemKind
    paths: tuple[Path, ...]
    reason: str
