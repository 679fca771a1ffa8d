"""ONNX models in OpenVINO, on the CPU."""

from collections.abc import Callable

import openvino

from unpaired.console import log
from unpaired.engines.onnx.translator import Planes, Precision

__all__ = ["OpenVino"]

_TYPES = {"fp32": "f32", "bf16": "bf16"}


class OpenVino:
    """See translator.Executor.

    OpenVINO takes bf16 by itself where the CPU has it; here the precision is always named.
    """

    methods: tuple[str, ...] = ("trained", "fp32", "bf16")
    peak = 17.0  # measured: docs/results.md, 2026-11-26

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.core = openvino.Core()

    def compile(self, model: bytes, precision: Precision) -> Callable[[Planes], Planes]:
        """See translator.Executor.compile."""
        options = {"INFERENCE_PRECISION_HINT": _TYPES[precision], "PERFORMANCE_HINT": "LATENCY"}
        if self.threads:
            options["INFERENCE_NUM_THREADS"] = str(self.threads)
        compiled = self.core.compile_model(self.core.read_model(model, b""), "CPU", options)
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if taken != _TYPES[precision]:
            log.warning(f"this CPU has no {precision} for OpenVINO, which computes in {taken}")

        def run(planes: Planes) -> Planes:
            result: Planes = compiled(planes)[0]
            return result

        return run

    def exhausted(self, error: Exception) -> bool:
        """See translator.Executor.exhausted."""
        text = str(error)
        return any(words in text for words in ("bad_alloc", "Failed to allocate", "out of memory"))

    def signature(self) -> str:
        """See seam.Translator.signature."""
        return f"openvino {openvino.get_version()}, cpu, {self.threads or 'all'} threads"
