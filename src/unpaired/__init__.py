"""Unpaired image-to-image translation with CycleGAN: train, resume exactly, translate, evaluate."""

from importlib import import_module
from typing import TYPE_CHECKING

from unpaired import errors

if TYPE_CHECKING:
    from unpaired import console
    from unpaired.benchmark.bench import bench
    from unpaired.config import Config
    from unpaired.evaluation.evaluate import compare, evaluate
    from unpaired.report.report import Report
    from unpaired.training.loop import Run, train
    from unpaired.translation.model import Model, load
    from unpaired.tuning.lr_find import lr_find

__all__ = [
    "Config",
    "Model",
    "Report",
    "Run",
    "bench",
    "compare",
    "console",
    "errors",
    "evaluate",
    "load",
    "lr_find",
    "train",
]

_MODULES = {
    "Config": "unpaired.config",
    "Model": "unpaired.translation.model",
    "Report": "unpaired.report.report",
    "Run": "unpaired.training.loop",
    "bench": "unpaired.benchmark.bench",
    "compare": "unpaired.evaluation.evaluate",
    "console": "unpaired.console",
    "evaluate": "unpaired.evaluation.evaluate",
    "load": "unpaired.translation.model",
    "lr_find": "unpaired.tuning.lr_find",
    "train": "unpaired.training.loop",
}


def __getattr__(name: str) -> object:
    """Imports a public name at its first use, so that `import unpaired` is quick."""
    if name not in _MODULES:
        raise AttributeError(f"module 'unpaired' has no attribute {name!r}")
    module = import_module(_MODULES[name])
    return module if name == "console" else getattr(module, name)
