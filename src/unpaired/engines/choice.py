"""The engine that the runtime names. Its framework is imported here, when it is asked for.

A system that runs out of memory kills a process without a message, so networks that cannot fit are
rejected before they are built.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from unpaired.config import Recipe, Runtime
from unpaired.console import log
from unpaired.engines.architecture import PEAK_BYTES, parameter_count
from unpaired.engines.processes import ALONE, Processes, find_place
from unpaired.engines.processor import BF16_INSTRUCTIONS, instructions
from unpaired.engines.seam import Engine, Translator, discriminators_of, generators_of
from unpaired.errors import MissingExtra, TooLarge
from unpaired.memory import free

__all__ = ["join", "make_engine", "make_translator", "require_memory", "settle_precision"]


def join(runtime: Runtime) -> Processes:
    """Joins the processes of a training as the environment tells: see `processes.find_place`.

    To be called before the framework is used; the device and the engine of `runtime` decide how
    the processes exchange gradients.

    Raises:
        ConfigError: the environment is not as it should be, or the device is not available.
        MissingExtra: the framework is not installed.
        RunError: the processes do not meet.
    """
    place = find_place()
    if place.count == 1:
        return ALONE
    try:
        if runtime.engine == "torch":
            from unpaired.engines.torch.processes import TorchProcesses

            return TorchProcesses(place, runtime.device)
        from unpaired.engines.jax.processes import JaxProcesses

        return JaxProcesses(place, runtime)
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, runtime.engine) from error


_BF16_PAYS = 1.2  # times as fast as fp32: a step casts, too, and rounds


def make_engine(recipe: Recipe, runtime: Runtime, processes: Processes = ALONE) -> Engine:
    """Makes the engine that `runtime` names; its state has no meaning before `load`.

    Of several `processes` it is one's part: see Engine.shard.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not available.
        TooLarge: it needs more memory than is free.
    """
    place = processes.place
    require_memory(recipe, place.count, collects=place.rank == 0 or runtime.engine == "jax")
    engine = _classes(runtime.engine)[0](recipe, runtime, processes)
    if engine.memory == "host":
        # The activations of one generator at the least. JAX takes the images of a batch singly.
        parts = runtime.accumulate * place.count
        images = recipe.batch_size // parts if runtime.engine == "torch" else 1
        each = min(
            PEAK_BYTES[recipe.upsample, recipe.settled_precision], PEAK_BYTES["resize", "bf16"]
        )
        _require(recipe, images * each * recipe.width * recipe.image_size**2, "a step")
    return engine


def make_translator(recipe: Recipe, runtime: Runtime) -> Translator:
    """Makes the generators alone, for translating. Raises as `make_engine`."""
    _require(recipe, _parameters(recipe)[0] * _number(recipe), "the networks")
    return _classes(runtime.engine)[1](recipe, runtime)


def settle_precision(recipe: Recipe, runtime: Runtime) -> Recipe:
    """The recipe with precision "auto" replaced: bf16 where the device is faster in it, else fp32.

    Emulated bf16 takes several times as long as fp32, and some processors that have instructions
    for it take twice as long: a matrix product is timed in both. The choice is logged with its
    reason.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not available.
    """
    if recipe.precision != "auto":
        return recipe
    pays, reason = _bf16_pays(runtime)
    chosen: Literal["bf16", "fp32"] = "bf16" if pays else "fp32"
    log.info(f"precision {chosen}: {reason}; --precision chooses otherwise")
    return replace(recipe, precision=chosen)


def _bf16_pays(runtime: Runtime) -> tuple[bool, str]:
    """Whether the device of the runtime is faster in bf16 than in fp32, and how that is known."""
    try:
        if runtime.engine == "torch":
            from unpaired.engines.torch import device

            kind, unit = device.bf16_unit(runtime.device)
            measure = device.bf16_gain
        else:
            from unpaired.engines.jax import device as jax_device

            kind, unit = jax_device.bf16_unit(runtime.device)
            measure = jax_device.bf16_gain
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, runtime.engine) from error
    if kind != "cpu":
        return bool(unit), f"{unit} multiplies in bf16" if unit else "the device has no bf16"
    native = ", ".join(sorted(BF16_INSTRUCTIONS & instructions()))
    if not native:
        return False, "the processor has no instructions for bf16"
    gain = measure()
    return gain >= _BF16_PAYS, f"with {native} a matrix product in bf16 is {gain:.1f} times as fast"


def require_memory(recipe: Recipe, processes: int = 1, *, collects: bool = True) -> None:
    """Requires that the state of a training of `recipe` fits into the free memory.

    It has weights, gradients, two moments, running means and image pools, all but the gradients
    twice more while it is saved; and a batch. Bands that the data are yet to settle count as 1.
    One of several `processes` has its share of the batch and of the pools, and that which
    `collects` the state to save it holds whole pools meanwhile: the first, and in JAX every one.

    Raises:
        TooLarge: it needs more; the message has both amounts.
    """
    generators, discriminators = _parameters(recipe)
    weights = generators + discriminators
    bands = sum(max(facts.bands, 1) for facts in recipe.domains.values())
    batch = recipe.batch_size * recipe.image_size**2 * bands
    share = batch / processes
    state = 3 * weights + (generators if recipe.ema else 0)
    pools = recipe.pool_size * (share + 2 * (batch if collects else share))
    _require(recipe, (weights + 3 * state + pools) * _number(recipe) + 4 * share, "a training")


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
) -> tuple[Callable[[Recipe, Runtime, Processes], Engine], Callable[[Recipe, Runtime], Translator]]:
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
