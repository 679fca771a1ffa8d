"""The engine that the runtime names. Its framework is imported here, when it is asked for."""

from collections.abc import Callable
from typing import Literal

from unpaired.config import Recipe, Runtime
from unpaired.engines.seam import Engine, Translator
from unpaired.errors import MissingExtra

__all__ = ["make_engine", "make_translator"]


def make_engine(recipe: Recipe, runtime: Runtime) -> Engine:
    """Makes the engine that `runtime` names; its state has no meaning before `load`.

    Raises:
        MissingExtra: the framework is not installed.
        ConfigError: the device is not available.
    """
    return _classes(runtime.engine)[0](recipe, runtime)


def make_translator(recipe: Recipe, runtime: Runtime) -> Translator:
    """Makes the generators alone, for translating. Raises as `make_engine`."""
    return _classes(runtime.engine)[1](recipe, runtime)


def _classes(
    framework: Literal["torch", "jax"],
) -> tuple[Callable[[Recipe, Runtime], Engine], Callable[[Recipe, Runtime], Translator]]:
    try:
        match framework:
            case "torch":
                from unpaired.engines.torch.engine import TorchEngine, TorchTranslator

                return TorchEngine, TorchTranslator
            case "jax":
                from unpaired.engines.jax.engine import JaxEngine, JaxTranslator

                return JaxEngine, JaxTranslator
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, framework) from error


# ---- to be moved to weights/ and features/ by their owner ---------------------------------


def read_pth(path):  # type: ignore[no-untyped-def]
    try:
        from unpaired.weights.torch_pth import read
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "torch", "reading .pth files") from error
    return read(path)


def dump_pth(arrays):  # type: ignore[no-untyped-def]
    try:
        from unpaired.weights.torch_pth import dump
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "torch", "writing .pth files") from error
    return dump(arrays)


def make_features(path, device, threads):  # type: ignore[no-untyped-def]
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
        raise MissingExtra.of(error, "torch", purpose) from error


def make_lpips(features, heads, device, threads):  # type: ignore[no-untyped-def]
    try:
        from unpaired.features.networks import Lpips
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "torch", "LPIPS") from error
    return Lpips(features, heads, device, threads)
