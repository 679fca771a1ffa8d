"""`unpaired bench`."""

from pathlib import Path
from typing import Annotated, Literal

from unpaired.cli.flags import Device, Threads, shown
from unpaired.errors import ConfigError
from unpaired.presets import PresetName

__all__ = ["bench"]


def bench(
    only: Annotated[
        tuple[Literal["train", "translate"], ...],
        shown("training steps or translations alone", "{train,translate}", "(default: both)"),
    ] = (),
    preset: Annotated[
        tuple[PresetName, ...], shown("presets to measure", "PRESET...", "(default: paper small)")
    ] = (),
    size: Annotated[
        tuple[int, ...], shown("sides of the images in pixels", "INT...", "(default: 64 128 256)")
    ] = (),
    batch_size: Annotated[
        tuple[int, ...], shown("images per batch", "INT...", "(default: 1)")
    ] = (),
    engine: Annotated[
        tuple[Literal["torch", "jax"], ...],
        shown("engines to measure", "{torch,jax}...", "(default: those installed)"),
    ] = (),
    runtime: Annotated[
        tuple[Literal["engine", "onnx", "openvino"], ...],
        shown(
            "what executes generators: engines, or as ONNX models onnxruntime or OpenVINO",
            "{engine,onnx,openvino}...",
            "(default: those installed)",
        ),
    ] = (),
    precision: Annotated[
        tuple[Literal["fp32", "bf16"], ...],
        shown(
            "arithmetic of the convolutions",
            "{fp32,bf16}...",
            "(default: fp32, and bf16 where it is faster)",
        ),
    ] = (),
    minutes: Annotated[
        float, shown("time, which decides the number of rounds", "FLOAT", "(default: 3)")
    ] = 3.0,
    clock: Annotated[
        Literal["wall", "processor"],
        shown(
            "what counts: time, or that of the processor alone, for one thread on a busy machine",
            "{wall,processor}",
            "(default: wall)",
        ),
    ] = "wall",
    json: Annotated[Path | None, shown("a file for all results and rounds", "FILE.json")] = None,
    page: Annotated[Path | None, shown("a file for a page", "FILE.html")] = None,
    device: Device = "auto",
    threads: Threads = 0,
) -> None:
    """Time training steps and translations, beside a plain reference, on random images."""
    from contextlib import ExitStack
    from json import dumps

    from unpaired.benchmark.bench import bench as run
    from unpaired.benchmark.page import render
    from unpaired.benchmark.text import print_tables
    from unpaired.errors import shown as shown_path
    from unpaired.storage import atomic_path

    files = [path for path in (json, page) if path]
    for path in files:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: give the name of a file")
    with ExitStack() as stack:  # what cannot be written is told before minutes of work
        drafts = {path: stack.enter_context(atomic_path(path)) for path in files}
        result = run(
            tasks=only,
            presets=preset,
            sizes=size,
            batch_sizes=batch_size,
            engines=engine,
            runtimes=runtime,
            precisions=precision,
            device=device,
            threads=threads,
            minutes=minutes,
            clock=clock,
        )
        print_tables(result)
        if json:
            drafts[json].write_text(dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
        if page:
            drafts[page].write_text(render(result), encoding="utf-8")
    for path in files:
        print(shown_path(path))
