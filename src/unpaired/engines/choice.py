"""The engine that the runtime names. A framework is imported here, when it is asked for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from unpaired.config import Recipe, Runtime
from unpaired.engines.seam import Arrays, Engine, Translator
from unpaired.errors import MissingExtra
from unpaired.features.seam import FeatureNetwork, PairDistance

__all__ = [
    "dump_pth",
    "make_engine",
    "make_features",
    "make_lpips",
    "make_translator",
    "read_pth",
]


def make_engine(recipe: Recipe, runtime: Runtime) -> Engine:
    """The engine that `runtime` names; its state means nothing before `load`.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not there.
    """
    match runtime.engine:
        case "torch":
            try:
                from unpaired.engines.torch.engine import TorchEngine
            except ModuleNotFoundError as error:
                raise _missing(error, "torch") from error
            return TorchEngine(recipe, runtime)
        case "jax":
            try:
                from unpaired.engines.jax.engine import JaxEngine
            except ModuleNotFoundError as error:
                raise _missing(error, "jax") from error
            return JaxEngine(recipe, runtime)


def make_translator(recipe: Recipe, runtime: Runtime) -> Translator:
    """The generators alone, for translating with `model.safetensors`. Raises as `make_engine`."""
    match runtime.engine:
        case "torch":
            try:
                from unpaired.engines.torch.engine import TorchTranslator
            except ModuleNotFoundError as error:
                raise _missing(error, "torch") from error
            return TorchTranslator(recipe, runtime)
        case "jax":
            try:
                from unpaired.engines.jax.engine import JaxTranslator
            except ModuleNotFoundError as error:
                raise _missing(error, "jax") from error
            return JaxTranslator(recipe, runtime)


def read_pth(path: Path) -> Arrays:
    """The tensors of a `.pth` file, read without running anything: see torch_pth.read.

    Raises:
        MissingExtra: PyTorch is not installed.
        CheckpointError: damaged, foreign, or it holds anything besides tensors.
        RunError: the system gives no access to it.
    """
    try:
        from unpaired.weights.torch_pth import read
    except ModuleNotFoundError as error:
        raise _missing(error, "torch", "reading .pth files") from error
    return read(path)


def dump_pth(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a `.pth` file that holds `arrays`. Raises MissingExtra without PyTorch."""
    try:
        from unpaired.weights.torch_pth import dump
    except ModuleNotFoundError as error:
        raise _missing(error, "torch", "writing .pth files") from error
    return dump(arrays)


def make_features(path: Path | None, device: str, threads: int) -> FeatureNetwork:
    """The network of features in the file `path`; None is the standard Inception.

    Raises:
        MissingExtra: PyTorch or, for Inception, torch-fidelity is not installed.
        CheckpointError: the weights cannot be had or read, or are of no network known here.
        ConfigError: the device is not there.
    """
    purpose = "figures on features of a network"
    try:
        if path is not None:
            from unpaired.features.networks import TorchFeatures

            return TorchFeatures(path, device, threads)
        from unpaired.features.fidelity import InceptionFeatures

        return InceptionFeatures(device, threads)
    except ModuleNotFoundError as error:
        if error.name in ("torch_fidelity", "torchvision"):
            raise MissingExtra(
                "torch-fidelity", "fid", "figures on features of Inception"
            ) from error
        raise _missing(error, "torch", purpose) from error


def make_lpips(features: Path, heads: Path, device: str, threads: int) -> PairDistance:
    """LPIPS with the weights of AlexNet and the heads in these files. Raises as `make_features`."""
    try:
        from unpaired.features.networks import Lpips
    except ModuleNotFoundError as error:
        raise _missing(error, "torch", "LPIPS") from error
    return Lpips(features, heads, device, threads)


_PACKAGES = {"torch": ("torch",), "jax": ("jax", "jaxlib", "equinox", "optax")}


def _missing(error: ModuleNotFoundError, framework: str, purpose: str = "") -> Exception:
    if error.name not in _PACKAGES[framework]:
        return error
    return MissingExtra(error.name, framework, purpose or f"the {framework} engine")
