"""Where networks run in PyTorch: device, threads and number type, and images to it and back."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unpaired.config import Recipe, Runtime
from unpaired.engines.architecture import Layer
from unpaired.engines.seam import Images
from unpaired.errors import ConfigError

__all__ = ["Machine", "bf16_gain", "bf16_unit", "find_device", "out_of_memory"]

# All that the allocators, libraries and backends say of memory in errors without their own type.
_EXHAUSTED = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "ALLOC_FAILED",
    "bad_alloc",
)


class Machine:
    """The device, threads and number type of a recipe and a runtime.

    Raises:
        ConfigError: the device is not available.
    """

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.device = find_device(runtime.device, runtime.threads)
        self.memory: Literal["host", "device"] = "host" if self.device.type == "cpu" else "device"
        self.precision = recipe.settled_precision
        self.dtype = torch.float64 if recipe.settled_precision == "fp64" else torch.float32

    def signature(self) -> str:
        """See seam.Engine.signature."""
        where = str(self.device)
        if self.device.type == "cuda":
            where = torch.cuda.get_device_name(self.device)
        return f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads"

    def place(
        self, kind: Callable[[Sequence[Layer]], nn.Module], layers: Mapping[str, Sequence[Layer]]
    ) -> nn.ModuleDict:
        """Makes networks on the device, kernels channels-last, in the recipe's number type."""
        networks = nn.ModuleDict({name: kind(each) for name, each in layers.items()})
        networks.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return networks

    def send(self, images: Images) -> Tensor:
        """NHWC numpy to channels-last NCHW on the device: a view, then a copy at most."""
        tensor = torch.from_numpy(np.require(images, requirements=["C", "W"]))
        return tensor.to(self.device, self.dtype, non_blocking=True).permute(0, 3, 1, 2)

    def run(self, network: Callable[[Tensor], Tensor], images: Images) -> NDArray[np.float32]:
        """Runs `network` on NHWC images, without gradients; the result is NHWC float32."""
        with torch.inference_mode(), self.autocast():
            result = network(self.send(images))
        array: NDArray[np.float32] = result.permute(0, 2, 3, 1).float().cpu().numpy()
        return np.ascontiguousarray(array)

    def autocast(self) -> AbstractContextManager[object]:
        """Convolutions in bf16 where the recipe says so; weights stay in fp32."""
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


def find_device(name: str, threads: int = 0) -> torch.device:
    """Finds the device of that name and sets the threads of a CPU's arithmetic (0: as they are).

    `auto` is CUDA, else MPS, else the CPU.

    Raises:
        ConfigError: the device is not available.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name!r} is not a device: cpu, cuda, cuda:1 or mps") from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        raise ConfigError(f"--device {name} is not available: use --device auto or cpu")
    return device


def bf16_unit(name: str) -> tuple[str, str]:
    """The kind of the device of that name, and the GPU that multiplies in bf16, if it is one.

    Raises:
        ConfigError: the device is not available.
    """
    device = find_device(name)
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return device.type, torch.cuda.get_device_name(device)
    return device.type, ""


def bf16_gain(turns: int = 8) -> float:
    """How many times as fast as in fp32 a matrix product is in bf16 on the CPU: best of turns."""
    matrices = [torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    best = [math.inf, math.inf]
    for _ in range(turns):
        for k, matrix in enumerate(matrices):
            began = time.perf_counter()
            torch.mm(matrix, matrix)
            best[k] = min(best[k], time.perf_counter() - began)
    return best[0] / best[1]


def out_of_memory(error: Exception) -> bool:
    """Tells PyTorch's errors of exhausted memory from its others."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _EXHAUSTED)
    )
