"""The feature network that the options name. PyTorch is imported here, when it is needed."""

from pathlib import Path

from unpaired.errors import MissingExtra
from unpaired.features.seam import FeatureNetwork, PairDistance

__all__ = ["make_features", "make_lpips"]


def make_features(path: Path | None, device: str, threads: int) -> FeatureNetwork:
    """Loads the feature network in the file `path`; None is the standard Inception.

    Raises:
        MissingExtra: PyTorch or, for Inception, torch-fidelity is not installed.
        CheckpointError: the weights cannot be downloaded or read, or are of no known network.
        ConfigError: the device is not available.
    """
    try:
        if path is None:
            from unpaired.features.fidelity import InceptionFeatures

            return InceptionFeatures(device, threads)
        from unpaired.features.networks import TorchFeatures

        return TorchFeatures(path, device, threads)
    except ModuleNotFoundError as error:
        if error.name in ("torch_fidelity", "torchvision"):
            purpose = "metrics on features of Inception"
            raise MissingExtra("torch-fidelity", "fid", purpose) from error
        raise MissingExtra.of(error, "torch", "metrics on features of a network") from error


def make_lpips(features: Path, heads: Path, device: str, threads: int) -> PairDistance:
    """Loads LPIPS from files of AlexNet's weights and of the heads. Raises as `make_features`."""
    try:
        from unpaired.features.lpips import Lpips
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "torch", "LPIPS") from error
    return Lpips(features, heads, device, threads)
