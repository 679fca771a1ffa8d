"""ONNX files and the runtimes that execute them. Their packages are imported here, when needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from unpaired.checkpoint import Header
from unpaired.config import Recipe, Runtime
from unpaired.directions import Direction
from unpaired.engines.seam import Images
from unpaired.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from unpaired.engines.onnx.file import OnnxFile
    from unpaired.engines.onnx.translator import OnnxTranslator

__all__ = ["OnnxRuntimeName", "make_onnx_file", "make_runtime", "read_onnx_file"]

OnnxRuntimeName = Literal["onnx", "openvino"]


def make_runtime(name: OnnxRuntimeName, recipe: Recipe, runtime: Runtime) -> "OnnxTranslator":
    """Makes a translator that executes its generators as ONNX models, in onnxruntime or OpenVINO.

    It takes the weights of any engine, and models of exported files.

    Raises:
        MissingExtra: the runtime is not installed.
        ConfigError: a device other than the CPU.
    """
    if runtime.device not in ("auto", "cpu"):
        raise ConfigError(
            f"--runtime {name} computes on the CPU: give --device cpu, or --runtime engine"
        )
    with _extra(name, f"--runtime {name}"):
        from unpaired.engines.onnx.translator import OnnxTranslator

        if name == "onnx":
            from unpaired.engines.onnx.onnxruntime import OnnxRuntime

            return OnnxTranslator(recipe, OnnxRuntime(runtime.threads))
        from unpaired.engines.onnx.openvino import OpenVino

        return OnnxTranslator(recipe, OpenVino(runtime.threads))


def make_onnx_file(
    header: Header,
    arrays: Mapping[str, np.ndarray],
    direction: Direction,
    calibration: Images | None = None,
    threads: int = 0,
) -> bytes:
    """The content of the ONNX file of one direction, whose weights are `generator_*` of `arrays`.

    With images of its source domain, (N, H, W, bands) in [-1, 1], for `calibration` it computes in
    8 bits, their ranges being those of these images.

    Raises:
        CheckpointError: the weights do not fit the recipe.
        ConfigError: the networks are too large for an ONNX file.
        MissingExtra: onnx or, for 8 bits, onnxruntime is not installed.
    """
    with _extra("onnx", "exporting to ONNX"):
        from unpaired.engines.onnx import file

        ranges = None
        if calibration is not None:
            from unpaired.engines.onnx.quantise import input_ranges

            weights = file.weights_of(header.config.recipe, arrays, direction)
            ranges = input_ranges(*weights, calibration, threads=threads)
        return file.content(header, arrays, direction, ranges)


def read_onnx_file(path: Path) -> "OnnxFile":
    """Reads a file that `unpaired export` wrote. See `onnx.file.read`.

    Raises:
        CheckpointError: missing, damaged, or not one of ours.
        MissingExtra: onnx is not installed.
        OSError: the system gives no access to it.
    """
    with _extra("onnx", "reading ONNX files"):
        from unpaired.engines.onnx.file import read

        return read(path)


@contextmanager
def _extra(name: OnnxRuntimeName, purpose: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, name, purpose) from error
