"""The processes of a training in PyTorch: gloo or NCCL for tensors, and a watch over each other.

No module is wrapped: the engine hands its gradients over. A process that is killed closes its
connections, which fails what the others wait for; one that hangs, or whose machine is lost, is
missed by the watch, which ends this process from a thread of its own.
"""

import contextlib
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from unpaired.engines.processes import Place
from unpaired.engines.torch.device import find_device
from unpaired.errors import ConfigError, RunError, ToldElsewhere, reason_of

__all__ = ["TorchProcesses"]

JOIN = timedelta(minutes=5)  # for all to have started
FOREVER = timedelta(days=30)  # for a sum: the first may evaluate before; the watch sees the dead
BEAT, MISSED = 1.0, 30.0  # seconds between two signs of life, and without any
_ENDED = "ended"  # the key of the store that says so: the process that ended tells why
_RUNS = itertools.count()


class TorchProcesses:
    """See Processes. Beside them it sums, broadcasts and gathers tensors for the engine.

    Raises:
        ConfigError: the device is not available.
        RunError: the processes do not meet.
    """

    def __init__(self, place: Place, device: str) -> None:
        self.place = place
        self.device = _own_device(device, place)
        self.shared = 0
        try:
            found = dist.rendezvous(  # type: ignore[attr-defined]
                "env://", place.rank, place.count, timeout=JOIN
            )
            store, rank, count = next(found)
            run = f"unpaired-{next(_RUNS)}"
            prefixed: Any = dist.PrefixStore  # type: ignore[attr-defined]
            self.store = prefixed(run, store)
            self.watch = _Watch(place, prefixed(run, store.clone()))
            dist.init_process_group(
                "gloo", store=self.store, rank=rank, world_size=count, timeout=FOREVER
            )
            kinds = self._sum([float(self.device.type == "cuda")])[0]
            if kinds not in (0, count):
                raise ConfigError("only some processes have a GPU: give --device cpu to all")
            self.group = dist.new_group(backend="nccl", timeout=FOREVER) if kinds else None
        except (RuntimeError, ValueError, OSError) as error:  # dist.DistError is a RuntimeError
            raise RunError(
                f"process {place.rank} does not meet the {place.count - 1} others at {place.host}, "
                f"port {place.port}: {_first_line(error)}"
            ) from error
        self.watch.start()

    # ---- texts and numbers ----------------------------------------------------------------

    def share(self, text: str) -> str:
        """See Processes.share. It waits however long the first works, and signals are heard."""
        key = f"text-{self.shared}"
        self.shared += 1
        with self._meeting():
            if self.place.rank == 0:
                self.store.set(key, text)
                return text
            while not self.store.check([key]):
                time.sleep(0.05)
            return bytes(self.store.get(key)).decode()

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """See Processes.sum."""
        with self._meeting():
            return self._sum(numbers)

    def _sum(self, numbers: Sequence[float]) -> list[float]:
        total = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(number) for number in total]

    # ---- tensors --------------------------------------------------------------------------

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors of one type by their sums over the processes: one all_reduce."""
        flat = _flat(tensors)
        with self._meeting():
            dist.all_reduce(flat, group=self.group)
        _unflatten(flat, tensors)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Replaces tensors of one type by those of the first process."""
        flat = _flat(tensors)
        with self._meeting():
            dist.broadcast(flat, 0, group=self.group)
        _unflatten(flat, tensors)

    def gather(self, part: Tensor, lanes: Sequence[slice]) -> Tensor:
        """In the first process the whole, of which each has its `lanes`; in others their `part`."""
        part = part.detach().cpu().contiguous()
        with self._meeting():
            if self.place.rank:
                dist.send(part, 0)
                return part
            whole = part.new_empty(lanes[-1].stop, *part.shape[1:])
            whole[lanes[0]] = part
            for rank, own in enumerate(lanes[1:], start=1):
                dist.recv(whole[own], rank)
        return whole

    def scatter(self, whole: Tensor, part: Tensor, lanes: Sequence[slice]) -> None:
        """Fills each process's `part` with its `lanes` of the `whole` of the first."""
        mine = torch.empty(part.shape, dtype=part.dtype)
        with self._meeting():
            if self.place.rank:
                dist.recv(mine, 0)
            else:
                mine.copy_(whole[lanes[0]])
                for rank, own in enumerate(lanes[1:], start=1):
                    dist.send(whole[own].to(part.dtype).contiguous(), rank)
        part.copy_(mine)

    # ---- the end --------------------------------------------------------------------------

    def close(self, error: BaseException | None = None) -> None:
        """See Processes.close. It may be called again."""
        if not dist.is_initialized():
            return
        if error is not None and self.place.rank == 0 and not self.shared:
            self.share("")  # the others wait for the first word
            error = None
        if error is None:
            self.sum([0.0])  # nobody leaves while another still waits
            self.watch.stop()
            self._sum([0.0])
        else:
            self.watch.end()
        dist.destroy_process_group()

    @contextmanager
    def _meeting(self) -> Iterator[None]:
        """Raises RunError where another process is lost, or ends as that one has told."""
        try:
            yield
        except RuntimeError as error:
            self.watch.lost(_first_line(error))


class _Watch:
    """A thread that shows the others that this process lives, and ends it where one does not.

    Each process looks after the next one, and after the word that one has ended.
    """

    def __init__(self, place: Place, store: Any) -> None:
        self.place, self.store = place, store
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True, name="watch")

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join()

    def end(self) -> None:
        """Tells the others that this process ends by an error, which it tells itself."""
        self.stop()
        if self._try(lambda: self.store.set(_ENDED, b"")) and self.place.rank == 0:
            time.sleep(2 * BEAT)  # the store, which the first may keep, is to be read by then

    def lost(self, reason: str) -> None:
        """Raises for a failure while the processes met; one of them tells of it.

        Raises:
            ToldElsewhere: another process tells why it has ended, or that one is lost.
            RunError: this one has to tell it.
        """
        self.stop()
        with contextlib.suppress(RuntimeError):  # the store may have gone
            for _ in range(10):  # the word of the one that ended may come a moment later
                if self.store.check([_ENDED]):
                    raise ToldElsewhere("another process of this training has ended")
                time.sleep(0.2)
            if self.store.add("lost", 1) > 1:
                raise ToldElsewhere("another process of this training is lost")
        raise RunError(
            f"process {self.place.rank} has lost another of the {self.place.count} ({reason}): "
            "all end; run the same command to resume from the last checkpoint"
        )

    def _watch(self) -> None:
        next_one = (self.place.rank + 1) % self.place.count
        own, other = f"alive-{self.place.rank}", f"alive-{next_one}"
        count, seen, since, line = 0, b"", time.monotonic(), None
        while not self.stopped.wait(BEAT):
            count += 1
            try:
                self.store.set(own, str(count))
                now = bytes(self.store.get(other)) if self.store.check([other]) else b""
                if self.store.check([_ENDED]):
                    line = ""
            except RuntimeError:
                line = f"process {self.place.rank} has lost the program that started it"
            if self.stopped.is_set():
                return
            if line is None and now != seen:
                seen, since = now, time.monotonic()
            if line is None and time.monotonic() - since > MISSED:
                line = f"process {next_one} has shown no sign of life for {MISSED:.0f} s"
                self._try(lambda: self.store.set(_ENDED, b""))
            if line is not None:
                _leave(line)

    def _try(self, call: Callable[[], object]) -> bool:
        """Calls, where the store may have gone."""
        try:
            call()
        except RuntimeError:
            return False
        return True


def _leave(line: str) -> None:
    """Ends the process at once: its main thread may wait without end for one that is gone."""
    if line:
        text = f"unpaired: {line}: all end; run the same command to resume from the last checkpoint"
        print(text, file=sys.stderr, flush=True)
    os._exit(2)


def _own_device(name: str, place: Place) -> torch.device:
    """The device of this process: of several GPUs that of its rank on its machine."""
    device = find_device(name)
    if device.type == "cuda":
        if device.index is not None:
            raise ConfigError(f"--device {name} is one GPU of several processes: give cuda")
        if place.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"process {place.rank} is number {place.local_rank} on its machine, which has "
                f"{torch.cuda.device_count()} GPUs: start as many processes as GPUs"
            )
        torch.cuda.set_device(place.local_rank)
    return device


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    whole = [part.view(tensor.shape) for tensor, part in zip(tensors, parts, strict=True)]
    torch._foreach_copy_([tensor.detach() for tensor in tensors], whole)


def _first_line(error: Exception) -> str:
    return reason_of(error).split(". ")[0][:160]
