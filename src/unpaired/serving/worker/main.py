"""The process of a worker: `python -m unpaired.serving.worker.main`, on pipes from the front.

It ends when the front does. Nothing is inherited but the pipes and standard error.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from unpaired.console import show
from unpaired.directions import source_of, target_of
from unpaired.errors import UnpairedError, reason_of
from unpaired.serving.messages import Order, Settings, StageReport, decode, encode
from unpaired.translation.model import Model

__all__ = ["load_models", "main"]

_BEAT = 1.0  # seconds between two signs of life
_NO_DRIVERS = "VRT GTI WMS WMTS WCS HTTP STACIT STACTA PLMOSAIC DAAS EEDAI RASTERLITE OGCAPI"
"""Of GDAL: those that open other files or addresses than the one they are given."""


def main(load: Callable[[Settings], dict[str, Model]] | None = None) -> None:
    """Loads the models, says so, and works off orders until standard input ends.

    `load` gives the models by their names; by default `load_models`.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # of the whole group: the front ends us
    os.environ.setdefault("GDAL_SKIP", _NO_DRIVERS)
    os.environ.setdefault("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what libraries print is no answer
    lock = threading.Lock()

    def answer(message: StageReport | dict[str, Any]) -> None:
        with lock, contextlib.suppress(OSError):  # the front has ended: so shall we
            answers.write(encode(message))
            answers.flush()

    show("quiet")
    first = decode(orders.readline() or b"{}")
    if not first:
        return
    first["models"] = tuple(map(tuple, first["models"]))
    settings = Settings(**first)
    try:
        models = (load or load_models)(settings)
    except UnpairedError as error:
        answer({"id": "", "error": str(error)})
        return
    except Exception as error:
        answer({"id": "", "error": f"the models could not be loaded: {reason_of(error)}"})
        raise
    _limit_memory(settings, models)

    from unpaired.serving.worker.pipeline import Pipeline

    pipeline = Pipeline(models, settings, answer)
    threading.Thread(target=_listen, args=(orders, pipeline), daemon=True).start()
    threading.Thread(target=_beat, args=(answer,), daemon=True).start()
    answer({"id": "", "ready": {name: _facts(model) for name, model in models.items()}})
    pipeline.run()


def load_models(settings: Settings) -> dict[str, Model]:
    """The models by their names, each having translated one image in each direction.

    Raises:
        UnpairedError: as `translation.model.load`.
    """
    from unpaired.translation.model import load
    from unpaired.translation.streaming.options import Streaming

    models = {}
    for name, path in settings.models:
        model = load(
            path,
            engine=settings.engine,
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
            runtime=settings.runtime,
        )
        if model.translator.memory == "host":
            model = replace(model, streaming=Streaming(memory=settings.memory // 2))
        for direction in model.directions:
            _warm(model, direction)
        models[name] = model
    return models


def _warm(model: Model, direction: Any) -> None:
    """Has the networks do once what takes longer the first time."""
    import numpy as np

    recipe = model.config.recipe
    side = max(recipe.image_size // 4 * 4, 16)
    bands = recipe.domains[source_of(direction)].bands
    noise = np.random.default_rng(0).uniform(-1, 1, (1, side, side, bands)).astype(np.float32)
    model.translator.translate(noise, direction)


def _limit_memory(settings: Settings, models: dict[str, Model]) -> None:
    """Lets the process map so much more than it has: a decoder that takes more fails alone.

    Not where networks are on a device: its driver maps all of the device's memory.
    """
    if not all(model.translator.memory == "host" for model in models.values()):
        return
    try:
        import resource

        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + settings.memory, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # a system without them
        return


def _facts(model: Model) -> dict[str, Any]:
    """What `/v1/models` tells of a model."""
    recipe = model.config.recipe
    domains = {
        key: {"name": facts.name, "bands": facts.bands, "samples": facts.samples}
        for key, facts in recipe.domains.items()
    }
    directions = [
        {
            "id": direction,
            "from": recipe.domains[source_of(direction)].name,
            "to": recipe.domains[target_of(direction)].name,
        }
        for direction in model.directions
    ]
    return {
        "domains": domains,
        "directions": directions,
        "size": recipe.image_size,
        "step": model.step,
    }


def _listen(orders: BinaryIO, pipeline: Any) -> None:
    """Takes orders until the front closes the pipe; then the process ends at once."""
    for line in orders:
        message = decode(line)
        if "cancel" in message:
            pipeline.cancel(message["cancel"])
        else:
            pipeline.put(Order(**message))
    os._exit(0)


def _beat(answer: Any) -> None:
    while True:
        time.sleep(_BEAT)
        answer({"id": "", "beat": 1})


if __name__ == "__main__":
    main()
