"""What is timed: contestants made ready to compute their work, on random images.

Frameworks are imported inside functions, each where its contestant runs.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, cycle, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.benchmark.rows import Contestant, Precision, Work
from unpaired.config import Recipe, Runtime
from unpaired.data.batches import Batch, Further, further_slots, pool_plan
from unpaired.directions import DOMAINS
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.runtimes import make_runtime
from unpaired.engines.seam import Images, Translator, generators_of, initial_state
from unpaired.errors import MissingExtra
from unpaired.memory import free
from unpaired.streams import FURTHER_POOL_A, FURTHER_POOL_B, POOL_A, POOL_B

__all__ = ["Ready", "batches", "import_framework", "prepare", "settled"]

_KEPT = 8  # batches made before anything is timed, and then used in turn


@dataclass(frozen=True)
class Ready:
    """A contestant ready to be timed.

    `call` computes its work once, and may return before a device has done it; `finish` takes the
    result of the last call and waits for all of them. `held` has the bytes that the device held at
    most and those it still has, None where its memory is the machine's own. `settle` finds the
    fastest way to compute and names it, if there are several. `flops` are the operations of a
    product.
    """

    call: Callable[[], object]
    finish: Callable[[object], None]
    held: Callable[[], tuple[int, int] | None]
    settle: Callable[[], str] = str
    flops: int = 0


def import_framework(contestant: Contestant) -> None:
    """Imports what the contestant needs, so that neither time nor memory of it counts.

    Raises:
        MissingExtra: it is not installed.
    """
    engine = contestant.engine
    extra: Literal["torch", "jax", "onnx", "openvino"]
    extra = "torch" if engine == "plain" or engine == "product" else engine
    try:
        match extra:
            case "jax":
                from unpaired.engines.jax import engine as _jax  # noqa: F401
            case "torch":
                from unpaired.engines.torch import engine as _torch  # noqa: F401
            case "onnx":
                from unpaired.engines.onnx import onnxruntime as _onnx  # noqa: F401
            case "openvino":
                from unpaired.engines.onnx import openvino as _openvino  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, extra, f"a benchmark of {extra}") from error


def settled(runtime: Runtime) -> dict[str, str | int]:
    """What PyTorch makes of `runtime` here: device, threads, version, and the name of a GPU.

    Raises:
        ConfigError: the device is not available.
    """
    import torch

    from unpaired.engines.torch.device import find_device

    device = find_device(runtime.device, runtime.threads)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    threads, version = torch.get_num_threads(), str(torch.__version__)
    return {"device": str(device), "threads": threads, "gpu": gpu, "torch": version}


def prepare(work: Work | None, contestant: Contestant, runtime: Runtime) -> Ready:
    """Builds what the contestant needs; its first call may still compile. A product has no work.

    Raises:
        ConfigError: the device is not available to it.
        TooLarge: it needs more memory than is free.
    """
    if contestant.engine == "jax":
        finish, held = _jax_device()
    elif contestant.engine in ("onnx", "openvino"):
        finish, held = (lambda result: None), (lambda: None)
    else:
        finish, held = _torch_device(runtime)
    if work is None:
        call, flops = _product(contestant.precision, runtime)
        return Ready(call, finish, held, flops=flops)
    recipe = work.recipe(contestant.precision)
    kept = list(islice(batches(recipe), _KEPT))
    following = cycle(kept)
    if work.task == "train":
        make = _plain_step if contestant.engine == "plain" else _engine_step
        step = make(recipe, runtime)
        return Ready(lambda: step(next(following)), finish, held)
    images = kept[0].real_a
    if contestant.engine == "plain":
        translate = _plain_translator(recipe, runtime)
        return Ready(lambda: translate(images), finish, held)
    translator = _translator(contestant, recipe, runtime)
    return Ready(
        lambda: translator.translate(images, "ab"),
        finish,
        held,
        lambda: _fastest(translator, contestant.precision, images),
    )


def batches(recipe: Recipe) -> Iterator[Batch]:
    """Batches of random images without end, with the pools' plans of a training's first steps."""
    bands = {domain: facts.bands for domain, facts in recipe.domains.items()}
    more = recipe.batch_size * (recipe.discriminator_images - 1)
    later = dict(zip(DOMAINS, (FURTHER_POOL_A, FURTHER_POOL_B), strict=True)) if more else {}
    every = slice(None)
    for step in count():
        rng = np.random.default_rng(step)
        yield Batch(
            _images(rng, recipe, recipe.batch_size, bands["a"]),
            _images(rng, recipe, recipe.batch_size, bands["b"]),
            pool_plan(recipe, POOL_A, step, every),
            pool_plan(recipe, POOL_B, step, every),
            {
                domain: Further(
                    _images(rng, recipe, more, bands[domain]),
                    further_slots(recipe, name, step, every),
                )
                for domain, name in later.items()
            },
        )


def _images(
    rng: np.random.Generator, recipe: Recipe, number: int, bands: int
) -> NDArray[np.float32]:
    shape = (number, recipe.image_size, recipe.image_size, bands)
    return rng.uniform(-1, 1, shape).astype(np.float32)


# ---- the contestants ----------------------------------------------------------------------


def _engine_step(recipe: Recipe, runtime: Runtime) -> Callable[[Batch], object]:
    """A training step of an engine, through the seam."""
    engine = make_engine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    return lambda batch: engine.train_step(batch, 1.0)


def _translator(contestant: Contestant, recipe: Recipe, runtime: Runtime) -> Translator:
    """The generators of an engine, or in a runtime, through the seam."""
    if contestant.engine == "onnx" or contestant.engine == "openvino":
        translator: Translator = make_runtime(contestant.engine, recipe, runtime)
    else:
        translator = make_translator(recipe, runtime)
    shapes = {
        f"{name}.{parameter}": np.zeros(shape, np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for parameter, shape in layer.parameters.items()
    }
    translator.load_generators(initial_state(shapes, recipe))
    translator.use(contestant.precision)
    return translator


def _fastest(translator: Translator, precision: Precision, images: Images) -> str:
    """Has it use the fastest of its methods in a precision, each tried twice, and names it."""
    methods = [m for m in translator.methods if m.startswith(f"{precision} ")]
    seconds = {}
    for method in (precision, *methods) if methods else ():
        translator.use(method)
        translator.translate(images, "ab")
        began = time.perf_counter()
        translator.translate(images, "ab")
        seconds[method] = time.perf_counter() - began
    if not seconds:
        return ""
    best = min(seconds, key=seconds.__getitem__)
    translator.use(best)
    translator.release(best)
    return best


def _plain_step(recipe: Recipe, runtime: Runtime) -> Callable[[Batch], object]:
    """A training step of the yardstick."""
    from unpaired.benchmark.plain import PlainStep
    from unpaired.engines.torch.device import find_device

    return PlainStep(recipe, find_device(runtime.device, runtime.threads))


def _plain_translator(recipe: Recipe, runtime: Runtime) -> Callable[[Images], object]:
    """A translation from a to b by the yardstick."""
    from unpaired.benchmark.plain import PlainNetworks
    from unpaired.engines.torch.device import find_device

    return PlainNetworks(recipe, find_device(runtime.device, runtime.threads)).translate


def _product(precision: Precision, runtime: Runtime) -> tuple[Callable[[], object], int]:
    """A product of two large square matrices in a precision, and its operations.

    PyTorch's convolutions in fp32 use TF32 on CUDA by default, so this product does as well.
    """
    import torch

    from unpaired.engines.torch.device import find_device

    device = find_device(runtime.device, runtime.threads)
    if device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        torch.set_float32_matmul_precision("high")
    side = {"cpu": 2048, "mps": 4096}.get(device.type, 8192)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    result = torch.empty(side, side, device=device, dtype=dtype)
    return lambda: torch.mm(left, right, out=result), 2 * side**3


# ---- devices ------------------------------------------------------------------------------

Device = tuple[Callable[[object], None], Callable[[], tuple[int, int] | None]]


def _torch_device(runtime: Runtime) -> Device:
    """`finish` and `held` of PyTorch."""
    import torch

    from unpaired.engines.torch.device import find_device

    device = find_device(runtime.device, runtime.threads)
    if device.type == "cuda":
        return (
            lambda result: torch.cuda.synchronize(device),
            lambda: (torch.cuda.max_memory_allocated(device), torch.cuda.mem_get_info(device)[0]),
        )
    if device.type == "mps":  # no peak is kept there: what its driver holds after a turn
        return (
            lambda result: torch.mps.synchronize(),
            lambda: (torch.mps.driver_allocated_memory(), free()),
        )
    return lambda result: None, lambda: None


def _jax_device() -> Device:
    """`finish` and `held` of JAX."""
    import jax

    def finish(result: object) -> None:
        jax.block_until_ready(result)  # type: ignore[no-untyped-call]

    def held() -> tuple[int, int] | None:
        facts = jax.local_devices()[0].memory_stats()
        if not facts:
            return None
        return facts["peak_bytes_in_use"], facts["bytes_limit"] - facts["bytes_in_use"]

    return finish, held
