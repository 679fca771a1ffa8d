"""LPIPS, a learned distance between the images of a pair, in PyTorch."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from unpaired.engines.torch.device import find_device
from unpaired.errors import DataError
from unpaired.features.networks import ALEXNET, load, normalised, plain_activations, plain_shapes

__all__ = ["Lpips"]

Images8 = NDArray[np.uint8]

# For images in [-1, 1], from the authors' code: nearly ImageNet's mean and deviation.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips:
    """LPIPS version 0.1 on AlexNet. See seam.PairDistance.

    Zhang, Isola, Efros, Shechtman, Wang, "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", 2018, equation 1: the activations of the five convolutions after their ReLU,
    unit length over channels, squared differences weighted by the heads, mean over positions, sum
    over the five.

    Args:
        features: file of AlexNet's `features.*`.
        heads: file of `lin0.model.1.weight` to `lin4.model.1.weight`.

    Raises:
        CheckpointError: a file cannot be read, or does not hold these tensors.
        ConfigError: the device is not available.
    """

    name = "LPIPS 0.1, AlexNet"

    def __init__(self, features: Path, heads: Path, device: str, threads: int) -> None:
        self.device = find_device(device, threads)
        self._weights = load(features, plain_shapes(ALEXNET), self.device)
        shapes = {f"lin{k}.model.1.weight": (1, c.outputs, 1, 1) for k, c in enumerate(ALEXNET)}
        self._heads = list(load(heads, shapes, self.device).values())

    def distance(self, x: Images8, y: Images8) -> NDArray[np.float64]:
        """See seam.PairDistance.distance; images of at least 31 x 31 pixels."""
        if x.shape != y.shape or x.ndim != 4 or x.shape[-1] != 3 or min(x.shape[1:3]) < 31:
            raise DataError(
                "LPIPS needs pairs of RGB images of one size, at least 31x31 pixels, not "
                f"{x.shape} and {y.shape}"
            )
        with torch.inference_mode():
            pairs = zip(self._activations(x), self._activations(y), self._heads, strict=True)
            parts = [
                F.conv2d((_unit(a) - _unit(b)).square(), head).cpu().double().mean(dim=(1, 2, 3))
                for a, b, head in pairs
            ]
            total: NDArray[np.float64] = torch.stack(parts).sum(dim=0).numpy()
        return total

    def _activations(self, images: Images8) -> list[Tensor]:
        signed = torch.from_numpy(images.astype(np.float32)).to(self.device) / 127.5 - 1
        return plain_activations(normalised(signed, _SHIFT, _SCALE), ALEXNET, self._weights)


def _unit(activation: Tensor) -> Tensor:
    """Scales to unit length over channels."""
    return activation / (activation.square().sum(dim=1, keepdim=True).sqrt() + 1e-10)
