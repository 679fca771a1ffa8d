"""`unpaired serve`."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from unpaired.cli.flags import (
    Device,
    Engine,
    ExecutedBy,
    LimitFlags,
    Precision,
    Threads,
    given,
    shown,
)

__all__ = ["serve"]


def serve(
    models: Annotated[
        tuple[str, ...],
        Positional,
        shown("run folders, model files or exported .onnx; NAME=PATH names one", "MODEL..."),
    ],
    limits: LimitFlags,
    host: Annotated[str, shown("address to listen at")] = "127.0.0.1",
    port: Annotated[int, shown("port; 0: any that is free")] = 8000,
    token_file: Annotated[
        Path | None,
        shown("file with a secret that clients must send as a bearer token", "FILE"),
    ] = None,
    insecure: Annotated[
        bool, shown("let everybody who reaches --host use the server without a token")
    ] = False,
    allow_host: Annotated[
        tuple[str, ...], shown("further names by which clients call this server", "NAME...")
    ] = (),
    allow_origin: Annotated[
        tuple[str, ...], shown("origins of other pages that may use it (CORS)", "URL...")
    ] = (),
    check: Annotated[bool, shown("start it, test it with images of its own, and end")] = False,
    engine: Engine = "auto",
    runtime: ExecutedBy = "auto",
    device: Device = "auto",
    threads: Threads = 0,
    precision: Precision = "auto",
) -> None:
    """Serve models: a page for browsers and an interface for programs."""
    from unpaired.serving.limits import MEGABYTE, ServeLimits
    from unpaired.serving.messages import Settings
    from unpaired.serving.serve import Address, name_models, start

    named = name_models(models)
    chosen = ServeLimits(**given(limits))
    address = Address(host, port, token_file, insecure, allow_host, allow_origin)
    workers = [
        Settings(
            named,
            max_pixels=chosen.max_pixels,
            max_side=chosen.max_side,
            memory=chosen.worker_memory * MEGABYTE,
            engine=engine,
            runtime=runtime,
            device=each,
            threads=threads,
            precision=precision,
        )
        for each in device.split(",")
    ]
    if check:
        from unpaired.serving.check import check as run_check

        running = start(named, workers, chosen, replace(address, port=0))
        for line in run_check(running):
            print(line)
        return
    asyncio.run(start(named, workers, chosen, address).run())
