"""The stages of a worker: threads decode and encode while the network translates batches.

Batches are made without waiting: whatever is decoded when the network is free, of one model,
direction and padded size, within a budget of pixels.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from unpaired.errors import ImageError
from unpaired.images.image import Image
from unpaired.serving.messages import Order, Settings, StageReport
from unpaired.serving.worker.files import Failed, Opened, failure, look, read, write
from unpaired.translation.model import Model
from unpaired.translation.sizes import Sizes

__all__ = ["Pipeline"]

_THREADS = 2  # that decode, and as many that encode
_BATCH_ON_CPU = 256 * 256  # pixels; on a CPU larger batches gain nothing: see docs/results.md
_BATCH_ELSEWHERE = 32_000_000
_MOST_IN_BATCH = 32
_AHEAD = 48_000_000  # pixels that are decoded and wait for the network; one image always may


@dataclass(frozen=True)
class _Ready:
    """A decoded image that waits for the network; `kind` is what a batch has in common."""

    order: Order
    opened: Opened
    image: Image
    kind: tuple[str, str, tuple[int, int]]

    @property
    def pixels(self) -> int:
        return self.image.size[0] * self.image.size[1]


class Pipeline:
    """Takes orders (`put`, `cancel`, from any thread) and reports their stages by `report`."""

    def __init__(
        self, models: Mapping[str, Model], settings: Settings, report: Callable[[StageReport], None]
    ) -> None:
        self.models, self.settings, self.report = models, settings, report
        self._decoders = ThreadPoolExecutor(_THREADS, thread_name_prefix="decode")
        self._encoders = ThreadPoolExecutor(_THREADS, thread_name_prefix="encode")
        self._changed = threading.Condition()
        self._ready: deque[_Ready] = deque()
        self._held = 0  # pixels that are being decoded or wait for the network
        self._orders: set[str] = set()  # that have not ended
        self._cancelled: set[str] = set()

    def put(self, order: Order) -> None:
        """Takes an order; its image is decoded as soon as a thread is free."""
        with self._changed:
            self._orders.add(order.id)
        self._decoders.submit(self._decode, order)

    def cancel(self, id: str) -> None:
        """Forgets an order, unless its image is in the network already."""
        with self._changed:
            if id not in self._orders:
                return
            self._cancelled.add(id)
            gone = [each for each in self._ready if each.order.id == id]
            for each in gone:
                self._drop(each)
        for each in gone:
            self._end(each.order, StageReport(id, "cancelled"))

    def run(self) -> None:
        """Translates batches for ever."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready)
                batch = self._take()
            self._translate(batch)

    def _decode(self, order: Order) -> None:
        """Reads an image; waits before its pixels while too many others are in memory."""
        if self._is_cancelled(order):
            return
        pixels = 0
        try:
            self.report(StageReport(order.id, "decode"))
            model = self.models[order.model]
            opened = look(model, order.direction, order, self.settings)
            pixels = opened.header.width * opened.header.height
            with self._changed:
                free = self._changed.wait_for(
                    lambda: not self._held or self._held + pixels <= _AHEAD
                )
                self._held += pixels if free else 0
            image = read(model, order.direction, order, opened, self.settings.max_pixels)
            padded = Sizes.of(image.size, None).padded
            ready = _Ready(order, opened, image, (order.model, order.direction, padded))
            self.report(StageReport(order.id, "ready", pixels=pixels))
        except BaseException as error:
            self._release(pixels)
            self._fail(order, error)
            return
        if self._is_cancelled(order):
            self._release(pixels)
            return
        with self._changed:
            self._ready.append(ready)
            self._changed.notify_all()

    def _take(self) -> list[_Ready]:
        """The next batch: the oldest image, and those that wait and are like it."""
        first = self._ready[0]
        host = self.models[first.order.model].translator.memory == "host"
        most = _BATCH_ON_CPU if host else _BATCH_ELSEWHERE
        alike = [each for each in self._ready if each.kind == first.kind]
        batch = alike[: max(min(most // max(first.pixels, 1), _MOST_IN_BATCH), 1)]
        for each in batch:
            self._ready.remove(each)
        return batch

    def _translate(self, batch: Sequence[_Ready]) -> None:
        for each in batch:
            self.report(StageReport(each.order.id, "network", batch=len(batch)))
        began = perf_counter()
        try:
            images = self._network(batch)
        except BaseException as error:
            for each in batch:
                self._release(each.pixels)
            if len(batch) == 1 or not isinstance(error, ImageError):
                for each in batch:
                    self._fail(each.order, error)
                return
            for each in batch:  # again one by one, to find which it is
                with self._changed:
                    self._held += each.pixels
                self._translate([each])
            return
        seconds = perf_counter() - began
        for each, image in zip(batch, images, strict=True):
            self._encoders.submit(self._encode, each, image, seconds)
            self._release(each.pixels)

    def _network(self, batch: Sequence[_Ready]) -> list[Image]:
        order = batch[0].order
        return self.models[order.model].translate_many(
            [each.image for each in batch], order.direction, batch_size=len(batch)
        )

    def _encode(self, ready: _Ready, image: Image, seconds: float) -> None:
        order = ready.order
        self.report(StageReport(order.id, "encode", seconds=seconds))
        try:
            suffix = write(order, ready.opened, image)
        except BaseException as error:
            self._fail(order, error)
            return
        warning = ready.opened.warning
        self._end(order, StageReport(order.id, "done", suffix=suffix, warning=warning))

    def _fail(self, order: Order, error: BaseException) -> None:
        failed: Failed = failure(error, order)
        report = StageReport(
            order.id, "failed", status=failed.status, error=failed.error, limit=failed.limit
        )
        self._end(order, report)

    def _end(self, order: Order, report: StageReport) -> None:
        """The last report of an order; nothing of it stays."""
        with self._changed:
            self._orders.discard(order.id)
            self._cancelled.discard(order.id)
        Path(order.source).unlink(missing_ok=True)
        self.report(report)

    def _is_cancelled(self, order: Order) -> bool:
        """Whether an order was cancelled; if so, it is reported."""
        with self._changed:
            gone = order.id in self._cancelled
        if gone:
            self._end(order, StageReport(order.id, "cancelled"))
        return gone

    def _drop(self, ready: _Ready) -> None:
        self._ready.remove(ready)
        self._held -= ready.pixels
        self._changed.notify_all()

    def _release(self, pixels: int) -> None:
        with self._changed:
            self._held -= pixels
            self._changed.notify_all()
