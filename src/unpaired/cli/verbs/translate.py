"""`unpaired translate`."""

from dataclasses import replace
from pathlib import Path
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
    Precision,
    Threads,
    WorkingSize,
    shown,
)
from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.errors import ConfigError, SomeFailed

__all__ = ["translate"]


def translate(
    model: ModelPath,
    inputs: Annotated[
        tuple[str, ...], Positional, shown("image files, folders, globs or a URL", "INPUT...")
    ],
    to: Annotated[str, shown("the domain to translate to: its name, or a or b", "DOMAIN")],
    out: Annotated[
        str, shown("the folder or URL for the results; nothing is written elsewhere", "DST")
    ],
    working_size: WorkingSize = None,
    detail: Annotated[
        Literal["keep", "none"] | None,
        shown(
            "with a working size: carry the change to the full-size input, whose grain and edges "
            "stay (keep; domains of equal bands), or enlarge the result, which is blurred (none)",
            "{keep,none}",
            "(default: none)",
        ),
    ] = None,
    format: FileFormat = None,
    overwrite: Annotated[bool, shown("replace existing files, even the inputs")] = False,
    batch_size: Annotated[
        int | None, shown("images of one size per batch", "INT", "(default: 8, of a shard 1)")
    ] = None,
    alpha: ModelAlpha = None,
    frames: ModelFrames = None,
    window: Annotated[
        tuple[int, int, int, int] | None,
        shown("the part of each GeoTIFF to translate, in pixels", "LEFT TOP WIDTH HEIGHT"),
    ] = None,
    bbox: Annotated[
        tuple[float, float, float, float] | None,
        shown("the part of each GeoTIFF, in units of its CRS", "LEFT BOTTOM RIGHT TOP"),
    ] = None,
    engine: Engine = "auto",
    runtime: ExecutedBy = "auto",
    device: Device = "auto",
    threads: Threads = 0,
    precision: Precision = "auto",
    memory: Annotated[
        float,
        shown(
            "GB that a translation may take: larger images are streamed exactly",
            "GB",
            "(default: half of what is free)",
        ),
    ] = 0,
    norm_stats: Annotated[
        str,
        shown(
            "of a streamed image, the statistics of instance norms: exact, sampled, dense, tile, "
            "or a file of --save-norm-stats",
            "KIND",
            "(default: exact)",
        ),
    ] = "exact",
    save_norm_stats: Annotated[
        Path | None,
        shown("save an image's statistics, for others of its mosaic or time series", "FILE"),
    ] = None,
    tile: Annotated[int, shown("side of the tiles of a streamed image in pixels", default="")] = 0,
    shard: Annotated[
        str | None,
        shown(
            "translate this share of a folder or URL; the same command again does what is missing",
            "I/N",
        ),
    ] = None,
    manifest: Annotated[
        str | None,
        shown(
            "of a shard, the file or URL for a JSON line an input",
            "FILE",
            "(default: in DST)",
        ),
    ] = None,
    dry_run: Annotated[bool, shown("only say what memory, scratch and time it takes")] = False,
    max_pixels: MaxPixels = DEFAULT_MAX_PIXELS,
) -> None:
    """Translate images, folders and globs to the other domain."""
    from unpaired.console import counted
    from unpaired.fleet.job import translate_shard
    from unpaired.fleet.one import Translation
    from unpaired.fleet.places import is_url
    from unpaired.fleet.shards import Shard
    from unpaired.images.raster.geo import Window
    from unpaired.translation.files import translate_files
    from unpaired.translation.fit import Area
    from unpaired.translation.model import load
    from unpaired.translation.streaming.options import Streaming

    sharded = shard is not None or manifest is not None or any(map(is_url, (*inputs, out)))
    loaded = load(
        model,
        engine=engine,
        device=device,
        threads=threads,
        precision="recipe" if sharded and precision == "auto" else precision,
        runtime=runtime,
    )
    streaming = Streaming(round(memory * 1e9), norm_stats, save_norm_stats, tile, dry_run)
    loaded = replace(loaded, streaming=streaming)
    trained = loaded.reading(loaded.direction(to))
    area = None
    if window and bbox:
        raise ConfigError("--window and --bbox exclude each other: give one of them")
    if window:
        left, top, width, height = window
        area = Area(window=Window(top, left, height, width))
    if bbox:
        area = Area(box=bbox)
    if sharded:
        if len(inputs) != 1:
            raise ConfigError(f"--shard is for one folder or URL, and {len(inputs)} are given")
        if overwrite or batch_size not in (None, 1):
            raise ConfigError(
                "--overwrite and --batch-size are not for shards: what is done stays, and images "
                "are translated one by one, so that results do not depend on others"
            )
        outcome = translate_shard(
            Translation.of(
                loaded,
                to=to,
                working_size=working_size,
                detail=detail,
                format=format,
                alpha=alpha,
                frames=frames,
                area=area,
                max_pixels=max_pixels,
            ),
            inputs[0],
            out,
            Shard.parse("0/1" if shard is None else shard),
            manifest,
        )
        print(outcome.line)
        if outcome.failures:
            raise SomeFailed(outcome.failures)
        return
    summary = translate_files(
        loaded,
        inputs,
        out,
        to=to,
        working_size=working_size,
        detail=detail,
        format=format,
        overwrite=overwrite,
        batch_size=8 if batch_size is None else batch_size,
        reading=replace(trained, alpha=alpha or trained.alpha, frames=frames or trained.frames),
        area=area,
        max_pixels=max_pixels,
    )
    for line in summary.planned:
        print(line)
    if not dry_run:
        print(f"{counted(len(summary.done), 'image')} translated into {out}")
    if summary.failed:
        listed = "\n".join(f"  {path}: {reason}" for path, reason in summary.failed)
        raise SomeFailed(f"{counted(len(summary.failed), 'image')} failed:\n{listed}")
