"""The Inception network of the FID's definition, through torch-fidelity (extra `fid`)."""

import numpy as np
import torch
from numpy.typing import NDArray

from unpaired.engines.torch.device import find_device
from unpaired.errors import CheckpointError
from unpaired.images.resize import resize

__all__ = ["InceptionFeatures"]

_SIDE = 299


class InceptionFeatures:
    """Pool3 of Inception-v3 with the weights of the FID. See seam.FeatureNetwork.

    Heusel et al. 2017. torch-fidelity downloads the weights the first time. Images come to it at
    its own 299 px, resized here by an antialiased bicubic and rounded to levels, so that its own
    bilinear, which aliases, has nothing to do: values are those of clean-fid, near but not equal
    to those of tools that let the network resize.

    Raises:
        ModuleNotFoundError: torch-fidelity, or a package that it needs, is not installed.
        CheckpointError: the weights cannot be downloaded or read.
        ConfigError: the device is not available.
    """

    name = f"Inception-v3 pool3 (torch-fidelity), {_SIDE} px bicubic antialiased"
    width = 2048

    def __init__(self, device: str, threads: int) -> None:
        from torch_fidelity import FeatureExtractorInceptionV3

        self.device = find_device(device, threads)
        try:
            extractor = FeatureExtractorInceptionV3("inception-v3-compat", [str(self.width)])
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"torch-fidelity has no weights of Inception and cannot download them ({reason}): "
                "run it once with a network connection, or give a file of weights"
            ) from error
        self._extractor = extractor.to(self.device).eval()

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See seam.FeatureNetwork.features."""
        levels = np.rint(resize(images, (_SIDE, _SIDE), (0, 255))).astype(np.uint8)
        with torch.inference_mode():
            x = torch.from_numpy(levels).permute(0, 3, 1, 2).contiguous().to(self.device)
            (vectors,) = self._extractor(x)
            array: NDArray[np.float32] = vectors.float().cpu().numpy()
        return array
