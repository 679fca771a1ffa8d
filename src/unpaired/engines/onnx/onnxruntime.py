"""ONNX models in onnxruntime, on the CPU."""

from collections.abc import Callable

import onnxruntime

from unpaired.engines.onnx.graph import INPUT
from unpaired.engines.onnx.translator import Planes, Precision
from unpaired.errors import ConfigError

__all__ = ["OnnxRuntime", "session"]

_FATAL = 4  # what is less is raised as an exception, and need not be printed too


class OnnxRuntime:
    """See translator.Executor."""

    methods: tuple[str, ...] = ("trained",)
    peak = 17.0  # measured: docs/results.md, 2026-11-26

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def compile(self, model: bytes, precision: Precision) -> Callable[[Planes], Planes]:
        """See translator.Executor.compile."""
        if precision != "fp32":
            raise ConfigError(
                f"onnxruntime does not compute in {precision} on a CPU: give --precision fp32, or "
                "--runtime openvino"
            )
        running = session(model, self.threads)

        def run(planes: Planes) -> Planes:
            result: Planes = running.run(None, {INPUT: planes})[0]
            return result

        return run

    def exhausted(self, error: Exception) -> bool:
        """See translator.Executor.exhausted."""
        text = str(error)
        return "Failed to allocate memory" in text or "bad_alloc" in text

    def signature(self) -> str:
        """See seam.Translator.signature."""
        return f"onnxruntime {onnxruntime.__version__}, cpu, {self.threads or 'all'} threads"


def session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """A model ready to run with so many threads (0: one per core).

    Memory is not kept for the next image, which may be smaller.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False
    options.log_severity_level = _FATAL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
