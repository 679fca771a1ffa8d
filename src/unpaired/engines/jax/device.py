"""Where networks run in JAX: devices, threads and number type, and images to them and back."""

import os
from contextlib import AbstractContextManager
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from unpaired.config import Recipe, Runtime
from unpaired.engines.jax.networks import Discriminator, Generator
from unpaired.engines.jax.step import forward
from unpaired.engines.seam import Images
from unpaired.errors import ConfigError

__all__ = ["Machine", "find_devices", "out_of_memory"]

Tree = TypeVar("Tree")


class Machine:
    """The devices, threads and number type of a recipe and a runtime.

    Raises:
        ConfigError: the device is not available.
    """

    def __init__(self, recipe: Recipe, runtime: Runtime) -> None:
        self.threads = set_threads(runtime.threads)
        self.devices = find_devices(runtime.device)
        on_cpu = self.devices[0].platform == "cpu"
        self.memory: Literal["host", "device"] = "host" if on_cpu else "device"
        self.precision = recipe.precision
        self.dtype = jnp.dtype(np.float64 if recipe.precision == "fp64" else np.float32)

    @property
    def one_by_one(self) -> bool:
        """Whether images of a batch go through the networks singly (see networks.through)."""
        return len(self.devices) == 1 and self.memory == "host"

    def signature(self) -> str:
        """See seam.Engine.signature."""
        first = self.devices[0]
        kind = "cpu" if first.platform == "cpu" else first.device_kind
        count = f"{len(self.devices)} x " if len(self.devices) > 1 else ""
        return f"jax {jax.__version__}, {count}{kind}, {self.threads} threads"

    def place(self, tree: Tree) -> Tree:
        """Puts arrays on every device, whole."""
        placed: Tree = jax.device_put(tree, self.sharding())
        return placed

    def send(self, images: Images) -> Array:
        """Images to the devices: a part to each where they divide evenly, else all to each."""
        even = len(images) % len(self.devices) == 0
        sharding = self.sharding("batch") if even else self.sharding()
        sent: Array = jax.device_put(np.asarray(images, self.dtype), sharding)
        return sent

    def run(
        self, network: Generator | Discriminator, images: Images, precision: str = ""
    ) -> NDArray[np.float32]:
        """Runs `network` on NHWC images; the result is NHWC float32, in memory of its own.

        `precision` is that of its convolutions; empty: that of the recipe.
        """
        count = len(images)
        parts = [images[i : i + 1] for i in range(count)] if self.one_by_one else [images]
        with self.arithmetic():
            results = [
                forward(network, self.send(part), precision=precision or self.precision)
                for part in parts
            ]
            return np.concatenate(jax.device_get(results), dtype=np.float32)

    def arithmetic(self) -> AbstractContextManager[object]:
        """Allows fp64 within, if the recipe asks for it: JAX has it off by default."""
        context: AbstractContextManager[object] = jax.enable_x64(self.precision == "fp64")
        return context

    def sharding(self, *axes: str) -> NamedSharding:
        """The first axis of arrays divided among the devices ("batch"), or whole on each ()."""
        mesh = Mesh(np.array(self.devices), ("batch",))
        spec = axes if len(self.devices) > 1 else ()  # how JAX itself puts it
        return NamedSharding(mesh, PartitionSpec(*spec))  # type: ignore[no-untyped-call]


def find_devices(name: str) -> list[jax.Device]:
    """Finds the local devices of a name: `auto` is JAX's default kind, `cuda:1` the second alone.

    Raises:
        ConfigError: the device is not available.
    """
    kind, _, index = name.partition(":")
    try:
        devices = jax.local_devices(backend=None if kind == "auto" else kind)
        return [devices[int(index)]] if index else list(devices)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ConfigError(
            f"--device {name} is not available for the jax engine: use --device auto or cpu"
        ) from error


def set_threads(threads: int) -> int:
    """Sets the threads of a CPU's arithmetic (0: as many as cores), once for the process.

    JAX reads their number when it first looks for devices, from the variable NPROC; so the first
    engine of a process decides, unless JAX was in use before.
    """
    if "cpu" not in _THREADS:
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        _THREADS["cpu"] = threads or cores
        os.environ["NPROC"] = str(_THREADS["cpu"])
    return _THREADS["cpu"]


_THREADS: dict[str, int] = {}


def out_of_memory(error: Exception) -> bool:
    """Tells JAX's errors of exhausted memory from its others."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
