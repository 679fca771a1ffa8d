"""Unpaired image-to-image translation with CycleGAN: train, resume exactly, translate, evaluate."""

from importlib import import_module
from typing import TYPE_CHECKING

from unpaired import errors

if TYPE_CHECKING:
    from unpaired.config import Config
    from unpaired.evaluation.evaluate import evaluate
    from unpaired.training.loop import train
    from unpaired.translation.model import load

__all__ = ["Config", "errors", "evaluate", "load", "train"]

_HOMES = {
    "Config": "unpaired.config",
    "evaluate": "unpaired.evaluation.evaluate",
    "load": "unpaired.translation.model",
    "train": "unpaired.training.loop",
}


def __getattr__(name: str) -> object:
    """Public names are imported at their first use, so that `import unpaired` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'unpaired' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
