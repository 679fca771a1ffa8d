"""The engine that the runtime names. A framework is imported here, when it is asked for."""

from unpaired.config import Recipe, Runtime
from unpaired.engines.seam import Engine, Translator
from unpaired.errors import MissingExtra

__all__ = ["make_engine", "make_translator"]


def make_engine(recipe: Recipe, runtime: Runtime) -> Engine:
    """The engine that `runtime` names; its state means nothing before `load`.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not there.
    """
    match runtime.engine:
        case "torch":
            try:
                from unpaired.engines.torch_engine import TorchEngine
            except ModuleNotFoundError as error:
                raise _missing(error, "torch") from error
            return TorchEngine(recipe, runtime)


def make_translator(recipe: Recipe, runtime: Runtime) -> Translator:
    """The generators alone, for translating with `model.safetensors`. Raises as `make_engine`."""
    match runtime.engine:
        case "torch":
            try:
                from unpaired.engines.torch_engine import TorchTranslator
            except ModuleNotFoundError as error:
                raise _missing(error, "torch") from error
            return TorchTranslator(recipe, runtime)


def _missing(error: ModuleNotFoundError, framework: str) -> Exception:
    if error.name != framework:
        return error
    return MissingExtra(framework, framework, f"the {framework} engine")
