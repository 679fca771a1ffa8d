"""The processes of a training in JAX: joined by `jax.distributed`, which ends all if one is lost.

Arrays are made of the shares of all processes; XLA exchanges them, by gloo between CPUs and by NCCL
between GPUs.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from unpaired.config import Runtime
from unpaired.engines.jax.device import set_threads
from unpaired.engines.processes import Place
from unpaired.errors import ConfigError, RunError, reason_of

__all__ = ["JaxProcesses"]

JOIN, MISSED, LEAVE = 300, 30, 5  # seconds: for all to start, without sign of life, to end together


class JaxProcesses:
    """See Processes. Beside them it hands the state of the first process to the others.

    Raises:
        ConfigError: the device is one of several.
        RunError: the processes do not meet.
    """

    def __init__(self, place: Place, runtime: Runtime) -> None:
        self.place, self.shared, self.closed = place, 0, False
        if ":" in runtime.device:
            raise ConfigError(f"--device {runtime.device} is one of several processes: give cuda")
        set_threads(runtime.threads)
        if jax.distributed.is_initialized():
            return  # by an earlier training of this program: a process joins once
        settings: Any = jax.config
        settings.update("jax_cpu_collectives_implementation", "gloo")
        settings.update("jax_enable_preemption_service", False)  # it would take SIGTERM from us
        port = place.port + 1 if place.held else place.port  # torchrun listens at its own
        try:
            jax.distributed.initialize(
                f"{place.host}:{port}",
                place.count,
                place.rank,
                local_device_ids=None if runtime.device == "cpu" else place.local_rank,
                initialization_timeout=JOIN,
                heartbeat_timeout_seconds=MISSED,
                shutdown_timeout_seconds=LEAVE,
            )
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"process {place.rank} does not meet the {place.count - 1} others at {place.host}, "
                f"port {port}: {reason_of(error)[:160]}"
            ) from error

    def share(self, text: str) -> str:
        """See Processes.share."""
        self.shared += 1
        codes = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        (length,) = self.broadcast([np.array([len(codes)], np.int32)])
        mine = codes if self.place.rank == 0 else np.zeros(int(length[0]), np.int32)
        (all_codes,) = self.broadcast([mine])
        return bytes(all_codes.astype(np.uint8)).decode()

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """See Processes.sum."""
        words = np.array(numbers, np.float64).view(np.uint32)  # as words: JAX halves doubles
        with self.meeting():
            every = np.ascontiguousarray(multihost_utils.process_allgather(words))
        total = every.reshape(self.place.count, -1).view(np.float64).sum(0)
        return [float(number) for number in total]

    def broadcast(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The arrays of the first process, bit for bit; the others give arrays of the same kind."""
        words = [np.ascontiguousarray(array).reshape(-1).view(np.uint32) for array in arrays]
        with self.meeting():
            found = multihost_utils.broadcast_one_to_all(words, is_source=self.place.rank == 0)
        return [
            np.asarray(word).view(array.dtype).reshape(array.shape)
            for word, array in zip(found, arrays, strict=True)
        ]

    def gather(self, pool: jax.Array) -> Any:
        """The whole of an array of which each process has some lanes."""
        with self.meeting():
            return np.asarray(multihost_utils.process_allgather(pool, tiled=True))

    def close(self, error: BaseException | None = None) -> None:
        """See Processes.close. JAX leaves at the end of the program. It may be called again."""
        if self.closed:
            return
        self.closed = True
        if error is not None and self.place.rank == 0 and not self.shared:
            self.share("")  # the others wait for the first word
            error = None
        if error is None:
            self.sum([0.0])

    @contextmanager
    def meeting(self) -> Iterator[None]:
        """Raises RunError where another process is lost."""
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            raise RunError(
                f"process {self.place.rank} has lost another of the {self.place.count} "
                f"({reason_of(error)[:160]}): all end; run the same command to resume from the "
                "last checkpoint"
            ) from error
