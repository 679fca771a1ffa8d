"""The engine that the runtime names. Its framework is imported here, when it is asked for."""

from collections.abc import Callable
from typing import Literal

from unpaired.config import Recipe, Runtime
from unpaired.engines.seam import Engine, Translator
from unpaired.errors import MissingExtra

__all__ = ["make_engine", "make_translator"]


def make_engine(recipe: Recipe, runtime: Runtime) -> Engine:
    """Makes the engine that `runtime` names; its state has no meaning before `load`.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not available.
    """
    return _classes(runtime.engine)[0](recipe, runtime)


def make_translator(recipe: Recipe, runtime: Runtime) -> Translator:
    """Makes the generators alone, for translating. Raises as `make_engine`."""
    return _classes(runtime.engine)[1](recipe, runtime)


def _classes(
    framework: Literal["torch", "jax"],
) -> tuple[Callable[[Recipe, Runtime], Engine], Callable[[Recipe, Runtime], Translator]]:
    try:
        match framework:
            case "torch":
                from unpaired.engines.torch.engine import TorchEngine, TorchTranslator

                return TorchEngine, TorchTranslator
            case "jax":
                from unpaired.engines.jax.engine import JaxEngine, JaxTranslator

                return JaxEngine, JaxTranslator
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, framework) from error
