"""Where networks run in JAX: devices, threads and number type, and images to them and back."""

import math
import os
import time
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, TypeVar

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

__all__ = ["Machine", "bf16_gain", "bf16_unit", "find_devices", "out_of_memory"]

Tree = TypeVar("Tree")


class Machine:
    """The devices, threads and number type of a recipe and a runtime.

    Raises:
        ConfigError: the device is not available.
    """

    def __init__(self, recipe: Recipe, runtime: Runtime, processes: int = 1) -> None:
        self.threads = set_threads(runtime.threads)
        self.processes = processes
        self.devices = find_devices(runtime.device)  # of this process
        on_cpu = self.devices[0].platform == "cpu"
        self.memory: Literal["host", "device"] = "host" if on_cpu else "device"
        self.precision = recipe.settled_precision
        self.dtype = jnp.dtype(np.float64 if recipe.settled_precision == "fp64" else np.float32)

    @property
    def one_by_one(self) -> bool:
        """Whether images of a batch go through the networks singly (see networks.through)."""
        return len(self.devices) == 1 and self.memory == "host"

    def signature(self) -> str:
        """See seam.Engine.signature."""
        first = self.devices[0]
        kind = "cpu" if first.platform == "cpu" else first.device_kind
        count = f"{len(self.devices)} x " if len(self.devices) > 1 else ""
        processes = f", {self.processes} processes" if self.processes > 1 else ""
        return f"jax {jax.__version__}, {count}{kind}, {self.threads} threads{processes}"

    def divide(self, batch_size: int) -> None:
        """Keeps as many devices, equally many of each process, as divide a batch evenly."""
        while batch_size % (len(self.devices) * self.processes):
            self.devices.pop()

    def place(self, tree: Tree) -> Tree:
        """Puts arrays on every device, whole."""
        if self.processes > 1:
            return self._joined(tree, self.sharding())
        placed: Tree = jax.device_put(tree, self.sharding())
        return placed

    def divided(self, tree: Tree) -> Tree:
        """Puts arrays on the devices, a part of the first axis to each.

        Of several processes each has its own share of the arrays.
        """
        if self.processes > 1:
            return self._joined(tree, self.sharding("batch"))
        placed: Tree = jax.device_put(tree, self.sharding("batch"))
        return placed

    def _joined(self, tree: Tree, sharding: NamedSharding) -> Tree:
        """Makes the arrays of all processes of the local data of each."""
        join: Any = jax.make_array_from_process_local_data
        joined: Tree = jax.tree.map(lambda leaf: join(sharding, np.asarray(leaf)), tree)
        return joined

    def own(self, tree: Tree) -> Tree:
        """Arrays that are whole on every device, as this process alone computes with them."""
        if self.processes == 1:
            return tree
        mine: Tree = jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
        return mine

    def send(self, images: Images) -> Array:
        """Images to the devices: a part to each where they divide evenly, else all to each."""
        if self.processes > 1:
            return self.divided(np.asarray(images, self.dtype))  # type: ignore[return-value]
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
        send = self.send if self.processes == 1 else partial(np.asarray, dtype=self.dtype)
        with self.arithmetic():
            results = [
                forward(network, send(part), precision=precision or self.precision)
                for part in parts
            ]
            return np.concatenate(jax.device_get(results), dtype=np.float32)

    def arithmetic(self) -> AbstractContextManager[object]:
        """Allows fp64 within, if the recipe asks for it: JAX has it off by default."""
        context: AbstractContextManager[object] = jax.enable_x64(self.precision == "fp64")
        return context

    def sharding(self, *axes: str) -> NamedSharding:
        """The first axis of arrays divided among the devices ("batch"), or whole on each ()."""
        mesh = self.mesh
        spec = axes if mesh.size > 1 else ()  # how JAX itself puts it
        return NamedSharding(mesh, PartitionSpec(*spec))  # type: ignore[no-untyped-call]

    @property
    def mesh(self) -> Mesh:
        """The devices of all processes, those of each together."""
        devices = self.devices
        if self.processes > 1:
            every = jax.devices(devices[0].platform)
            own = [[d for d in every if d.process_index == p] for p in range(self.processes)]
            devices = [device for found in own for device in found[: len(self.devices)]]
        return Mesh(np.array(devices), ("batch",))


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


def bf16_unit(name: str) -> tuple[str, str]:
    """The platform of the devices of that name, and the accelerator that multiplies in bf16.

    Raises:
        ConfigError: the device is not available.
    """
    first = find_devices(name)[0]
    capability = str(getattr(first, "compute_capability", "")).split(".")[0]
    capable = first.platform == "tpu" or (capability.isdecimal() and int(capability) >= 8)
    return first.platform, first.device_kind if capable else ""


def bf16_gain(turns: int = 8) -> float:
    """How many times as fast as in fp32 a matrix product is in bf16 on the CPU: best of turns."""
    matrices = [jnp.ones((512, 512), dtype) for dtype in (jnp.float32, jnp.bfloat16)]
    best = [math.inf, math.inf]
    for _ in range(turns + 1):  # the first compiles
        for k, matrix in enumerate(matrices):
            began = time.perf_counter()
            jnp.dot(matrix, matrix).block_until_ready()
            best[k] = min(best[k], time.perf_counter() - began)
    return best[0] / best[1]


def out_of_memory(error: Exception) -> bool:
    """Tells JAX's errors of exhausted memory from its others."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
