"""The engine that the runtime names. Its framework is imported here, when it is asked for.

A system that runs out of memory kills a process without a message, so networks that cannot fit are
rejected before they are built.
"""

from collections.abc import Callable
from typing import Literal

from unpaired.config import Recipe, Runtime
from unpaired.engines.architecture import PEAK_BYTES, parameter_count
from unpaired.engines.seam import Engine, Translator, discriminators_of, generators_of
from unpaired.errors import MissingExtra, TooLarge
from unpaired.memory import free

__all__ = ["make_engine", "make_translator", "require_memory"]


def make_engine(recipe: Recipe, runtime: Runtime) -> Engine:
    """Makes the engine that `runtime` names; its state has no meaning before `load`.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not available.
        TooLarge: it needs more memory than is free.
    """
    require_memory(recipe)
    engine = _classes(runtime.engine)[0](recipe, runtime)
    if engine.memory == "host":
        # The activations of one generator at the least. JAX takes the images of a batch singly.
        images = recipe.batch_size // runtime.accumulate if runtime.engine == "torch" else 1
        each = min(PEAK_BYTES[recipe.upsample, recipe.precision], PEAK_BYTES["resize", "bf16"])
        _require(recipe, images * each * recipe.width * recipe.image_size**2, "a step")
    return engine


def make_translator(recipe: Recipe, runtime: Runtime) -> Translator:
    """Makes the generators alone, for translating. Raises as `make_engine`."""
    _require(recipe, _parameters(recipe)[0] * _number(recipe), "the networks")
    return _classes(runtime.engine)[1](recipe, runtime)


def require_memory(recipe: Recipe) -> None:
    """Requires that the state of a training of `recipe` fits into the free memory.

    It has weights, gradients, two moments, running means and image pools, all but the gradients
    twice more while it is saved; and a batch. Bands that the data are yet to settle count as 1.

    Raises:
        TooLarge: it needs more; the message has both amounts.
    """
    generators, discriminators = _parameters(recipe)
    weights = generators + discriminators
    bands = sum(max(facts.bands, 1) for facts in recipe.domains.values())
    images = recipe.batch_size * recipe.image_size**2 * bands
    state = 3 * weights + (generators if recipe.ema else 0) + recipe.pool_size * images
    _require(recipe, (weights + 3 * state) * _number(recipe) + 4 * images, "a training")


def _require(recipe: Recipe, needed: float, what: str) -> None:
    if needed <= (available := free()):
        return
    raise TooLarge(
        f"{what} of --width {recipe.width}, --blocks {recipe.blocks}, --discriminator-width "
        f"{recipe.discriminator_width}, --batch-size {recipe.batch_size}, --pool-size "
        f"{recipe.pool_size} and --image-size {recipe.image_size} needs about {needed / 1e9:,.1f} "
        f"GB of memory and {available / 1e9:,.1f} GB are free: give smaller ones"
    )


def _parameters(recipe: Recipe) -> tuple[int, int]:
    """How many both generators have, and both discriminators."""
    kinds = generators_of(recipe), discriminators_of(recipe)
    generators, discriminators = (sum(map(parameter_count, kind.values())) for kind in kinds)
    return generators, discriminators


def _number(recipe: Recipe) -> int:
    """Bytes of a number."""
    return 8 if recipe.precision == "fp64" else 4


def _classes(
    framework: Literal["torch", "jax"],
) -> tuple[Callable[[Recipe, Runtime], Engine], Callable[[Recipe, Runtime], Translator]]:
    try:
        match framework:
            case "torch":
                from unpaired.engines.torch.engine import TorchEngine
                from unpaired.engines.torch.translator import TorchTranslator

                return TorchEngine, TorchTranslator
            case "jax":
                from unpaired.engines.jax.engine import JaxEngine, JaxTranslator

                return JaxEngine, JaxTranslator
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, framework) from error
