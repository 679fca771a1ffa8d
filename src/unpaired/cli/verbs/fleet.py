"""`unpaired fleet`."""

from typing import Annotated, Literal

from tyro.conf import Positional

from unpaired.cli.flags import (
    Device,
    Engine,
    ExecutedBy,
    FileFormat,
    MaxPixels,
    ModelAlpha,
    ModelFrames,
    ModelPath,
    WorkingSize,
    shown,
)
from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import MissingExtra, SomeFailed

__all__ = ["fleet"]


def fleet(
    source: Annotated[str, Positional, shown("the folder or URL with the images", "SRC")],
    out: Annotated[str, Positional, shown("the folder or URL for the results", "DST")],
    model: ModelPath,
    to: Annotated[str, shown("the domain to translate to: its name, or a or b", "DOMAIN")],
    working_size: WorkingSize = None,
    detail: Annotated[
        Literal["keep", "none"] | None,
        shown("with a working size: see translate --help", "{keep,none}", "(default: none)"),
    ] = None,
    format: FileFormat = None,
    alpha: ModelAlpha = None,
    frames: ModelFrames = None,
    address: Annotated[
        str, shown("of your Ray cluster (default: RAY_ADDRESS, else one is started here)", "ADDR")
    ] = "",
    actors: Annotated[
        tuple[int, int],
        shown("actors, each with the model: the least and the most", "MIN MAX", "(default: 1 1)"),
    ] = (1, 1),
    cpus: Annotated[float, shown("CPUs and threads of an actor", default="(default: 1)")] = 1,
    gpus: Annotated[float, shown("GPUs of an actor, such as 1 or .5", default="(default: 0)")] = 0,
    actor_memory: Annotated[
        float, shown("GB that Ray sets aside for an actor", "GB", "(default: none)")
    ] = 0,
    object_store: Annotated[
        float, shown("GB of the object store of a cluster started here", "GB", "")
    ] = 0,
    batch: Annotated[
        int, shown("images a batch: the most a killed actor does again", default="(default: 16)")
    ] = 16,
    tasks: Annotated[
        int, shown("blocks of names that wait at an actor", default="(default: 4)")
    ] = 0,
    shard: Annotated[str, shown("only this share of the images", "I/N", "(default: all)")] = "0/1",
    engine: Engine = "auto",
    runtime: ExecutedBy = "auto",
    device: Device = "auto",
    precision: Annotated[
        Literal["recipe", "fp32", "bf16"],
        shown("arithmetic of the convolutions", "{recipe,fp32,bf16}", "(default: recipe)"),
    ] = "recipe",
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Translate millions of images on a Ray cluster; the same command does what is missing."""
    from unpaired.fleet.shards import Shard

    share = Shard.parse(shard)
    try:
        from unpaired.fleet.ray_data import Cluster, run_fleet
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "ray", "unpaired fleet") from error
    outcome = run_fleet(
        model,
        source,
        out,
        share,
        Cluster(
            address=address,
            actors=actors,
            cpus=cpus,
            gpus=gpus,
            memory=round(actor_memory * 1e9),
            object_store=round(object_store * 1e9),
            batch=batch,
            tasks=tasks,
        ),
        {
            "engine": engine,
            "runtime": runtime,
            "device": device,
            "threads": max(int(cpus), 1),
            "precision": precision,
        },
        {
            "to": to,
            "working_size": working_size,
            "detail": detail,
            "format": format,
            "alpha": alpha,
            "frames": frames,
            "max_pixels": max_pixels,
        },
    )
    print(outcome.line)
    if outcome.failures:
        raise SomeFailed(outcome.failures)
