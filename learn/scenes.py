"""The images of `seasons-lite` as tensors: drawn on this machine when they are first asked for."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from unpaired.data.source import resolve

__all__ = ["as_levels", "for_product", "load"]


def load(split: Literal["trainA", "trainB", "testA", "testB"], count: int = 600) -> torch.Tensor:
    """Images (N, 3, 32, 32) in [-1, 1]. A is summer, B is winter.

    `testA` and `testB` are the same scenes painted twice; training images of A and B share none.
    """
    paths = sorted((resolve("seasons-lite") / split).glob("*.png"))[:count]
    images = np.stack([np.asarray(Image.open(path)) for path in paths])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def for_product(images: torch.Tensor) -> NDArray[np.float32]:
    """Images as `unpaired` takes them: (N, 32, 32, 3) in [-1, 1], numpy."""
    return np.ascontiguousarray(images.detach().permute(0, 2, 3, 1).numpy(), np.float32)


def as_levels(images: torch.Tensor | NDArray[Any]) -> NDArray[np.uint8]:
    """Images (N, 32, 32, 3) of 0 to 255, as files hold them."""
    array = for_product(images) if isinstance(images, torch.Tensor) else images
    levels: NDArray[np.uint8] = np.rint((np.clip(array, -1, 1) + 1) * 127.5).astype(np.uint8)
    return levels
