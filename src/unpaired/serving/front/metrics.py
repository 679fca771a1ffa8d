"""The metrics of a server, as Prometheus reads them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters, gauges and histograms of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "unpaired_requests", "Answered requests", ["route", "status"], registry=registry
        )
        self.latency = Histogram(
            "unpaired_request_seconds", "Seconds of a request", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.images = Counter("unpaired_images", "Ended images", ["outcome"], registry=registry)
        self.rejected = Counter(
            "unpaired_rejected", "Jobs that were not accepted", ["reason"], registry=registry
        )
        self.network = Histogram(
            "unpaired_network_seconds", "Seconds of a batch in the network",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.batch = Histogram(
            "unpaired_batch_images", "Images of a batch, once for each of them",
            buckets=(1, 2, 4, 8, 16, 32), registry=registry,
        )  # fmt: skip

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"unpaired_{name}", about, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """All of them in the text format of Prometheus."""
        return generate_latest(self.registry)
