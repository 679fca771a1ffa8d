"""The limits of a server: every one is a flag, and `/v1/models` tells them all."""

from dataclasses import dataclass

from unpaired.config import MOST_STEPS
from unpaired.config.fields import check, option

__all__ = ["MEGABYTE", "ServeLimits"]

MEGABYTE = 1_000_000
_MOST_SECONDS = 86_400


@dataclass(frozen=True)
class ServeLimits:
    """What a server accepts, keeps and waits for.

    Raises:
        ConfigError: a value is out of its range.
    """

    max_body: int = option(25, "MB of one image that is sent", at_least=1, at_most=100_000)
    max_pixels: int = option(
        40_000_000, "pixels of an image, by its header", at_least=64, at_most=MOST_STEPS
    )
    max_side: int = option(20_000, "pixels of a side of an image", at_least=8, at_most=10**6)
    zip_images: int = option(200, "images of a zip file or a list", at_least=1, at_most=65_535)
    zip_size: int = option(
        500, "MB of a zip file, packed or unpacked, or of a list", at_least=1, at_most=100_000
    )
    zip_ratio: int = option(
        100, "times that a file in a zip file may grow", at_least=1, at_most=100_000
    )
    read_seconds: int = option(
        30, "seconds in which an image has to arrive", at_least=1, at_most=_MOST_SECONDS
    )
    read_rate: int = option(
        10, "kB a second that have to arrive, after five seconds", at_most=10**6
    )
    queue: int = option(64, "jobs that wait; further ones get 429", at_least=1, at_most=100_000)
    in_flight: int = option(
        8, "unfinished jobs of one address; further ones get 429", at_least=1, at_most=100_000
    )
    connections: int = option(
        1000, "open connections; further ones get 503", at_least=8, at_most=100_000
    )
    batch_seconds: int = option(
        60,
        "seconds for each step of an image: decoding, the network on its batch, encoding",
        at_least=1,
        at_most=_MOST_SECONDS,
    )
    wait_seconds: int = option(
        60, "seconds after which a waiting client gets a job instead", at_most=_MOST_SECONDS
    )
    result_seconds: int = option(
        600, "seconds for which results are kept", at_least=1, at_most=_MOST_SECONDS
    )
    store_size: int = option(
        2000, "MB of images that wait and results together", at_least=1, at_most=10**8
    )
    worker_memory: int = option(
        4000, "MB that a worker may take beside its models (on a CPU)", at_least=100, at_most=10**8
    )
    drain_seconds: int = option(
        30, "seconds that accepted jobs have to finish at the end", at_most=_MOST_SECONDS
    )

    def __post_init__(self) -> None:
        check(self)

    def told(self) -> dict[str, int]:
        """The limits that concern clients, by the names they have in `/v1/models`."""
        return {
            "body_bytes": self.max_body * MEGABYTE,
            "pixels": self.max_pixels,
            "side": self.max_side,
            "zip_images": self.zip_images,
            "zip_bytes": self.zip_size * MEGABYTE,
            "zip_ratio": self.zip_ratio,
            "read_seconds": self.read_seconds,
            "read_bytes_per_second": self.read_rate * 1000,
            "waiting_jobs": self.queue,
            "in_flight_per_client": self.in_flight,
            "connections": self.connections,
            "batch_seconds": self.batch_seconds,
            "wait_seconds": self.wait_seconds,
            "result_seconds": self.result_seconds,
            "store_bytes": self.store_size * MEGABYTE,
        }
