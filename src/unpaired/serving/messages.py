"""What the front and a worker tell each other: lines of JSON over the worker's pipes.

The front writes `Settings` first and then `Order`s and cancellations; a worker answers with its
models, and with a `StageReport` at each stage of an image. Images lie in files of the private
folder of the front, so nothing but names crosses the pipe.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Order", "Settings", "Stage", "StageReport", "decode", "encode"]

Stage: TypeAlias = Literal["decode", "ready", "network", "encode", "done", "failed", "cancelled"]
"""Where an image is. "ready" waits for the network; the last three are ends."""


@dataclass(frozen=True)
class Settings:
    """What a worker has to know at its start; `models` are (name, path)."""

    models: tuple[tuple[str, str], ...]
    max_pixels: int
    max_side: int
    memory: int  # bytes
    engine: Literal["auto", "torch", "jax"] = "auto"
    runtime: Literal["auto", "engine", "onnx", "openvino"] = "auto"
    device: str = "auto"
    threads: int = 0
    precision: Literal["auto", "recipe", "fp32", "bf16"] = "auto"


@dataclass(frozen=True)
class Order:
    """One image to translate: `source` and `target` are files; the suffix is left to the worker.

    `format` is the suffix of the result without its dot; empty: that of the image.
    """

    id: str
    model: str
    direction: Literal["ab", "ba"]
    source: str
    target: str
    format: str = ""


@dataclass(frozen=True)
class StageReport:
    """An image reaches a stage. The fields after `stage` are set where they are known."""

    id: str
    stage: Stage
    batch: int = 0  # "network": images of the batch
    seconds: float = 0.0  # "encode": of the network for the batch
    pixels: int = 0  # "ready"
    suffix: str = ""  # "done": of the result
    warning: str = ""  # "done"
    status: int = 0  # "failed": an HTTP status
    error: str = ""  # "failed"
    limit: str = ""  # "failed": the limit that was passed, by its name in ServeLimits.told


def encode(message: Settings | Order | StageReport | dict[str, Any]) -> bytes:
    """One line; what is not set is omitted."""
    content = message if isinstance(message, dict) else asdict(message)
    return json.dumps({k: v for k, v in content.items() if v or k == "id"}).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The content of a line.

    Raises:
        ValueError: it is none of `encode`.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("a message is a JSON object")
    return content
