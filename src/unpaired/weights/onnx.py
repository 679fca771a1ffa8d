"""Models as ONNX files: `unpaired export --format onnx`, each verified before it is written."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from unpaired import checkpoint
from unpaired.checkpoint import Header
from unpaired.config import DEFAULT_MAX_PIXELS, Config, Recipe, Runtime
from unpaired.console import counted, log
from unpaired.data.batches import load_whole
from unpaired.data.crops import DomainReader
from unpaired.data.layout.domains import DataSet
from unpaired.data.source import Source, find_source
from unpaired.directions import DIRECTIONS, DOMAINS, Direction, Domain, source_of
from unpaired.engines.architecture import STRIDE
from unpaired.engines.choice import make_translator
from unpaired.engines.runtimes import make_onnx_file, make_runtime
from unpaired.engines.seam import Images, Networks, Translator
from unpaired.errors import CheckpointError, ConfigError, MissingExtra
from unpaired.hub.download import local_model
from unpaired.images.formats import Reading
from unpaired.storage import atomic_path

__all__ = ["Difference", "Exported", "export_onnx"]

TOLERANCE = 1e-3
"""Of [-1, 1]: an fp32 export that differs more from its engine is not written."""

_IMAGES = 128  # of a domain, at most: to verify on, and half of them to calibrate 8 bits
_RANDOM_SIZES = ((1, 64, 64), (2, 48, 80))  # images, height, width


@dataclass(frozen=True)
class Difference:
    """How far results are from those of the engine, in [-1, 1], on so many images.

    `largest` is of one sample, `mean` of all.
    """

    images: str
    largest: float
    mean: float

    def __str__(self) -> str:
        levels = (
            f"{self.mean * 127.5:.2g} levels of 255 on average, {self.largest * 127.5:.2g} at most"
        )
        return f"on {self.images} {self.largest:.1e} in [-1, 1] ({levels})"


@dataclass(frozen=True)
class Exported:
    """A file that was written, and how far its results are from the engine's.

    No differences if no engine is installed.
    """

    path: Path
    differences: tuple[Difference, ...]


def export_onnx(
    model: str | Path,
    out: str | Path,
    *,
    quantise: Literal["int8"] | None = None,
    images: Source | None = None,
    threads: int = 0,
    overwrite: bool = False,
) -> list[Exported]:
    """Writes `model-ab.onnx` and `model-ba.onnx` into the folder `out`: one file a direction.

    `model` is a run folder, its `model.safetensors` or a checkpoint; the weights are those that
    `translate` uses, of any engine. Batch, height and width are free. With `quantise` the names end
    in `-int8`, and all layers but the first and the last compute in 8 bits.

    Args:
        images: a data set, as `train` takes it. Its training images verify the files, beside random
            ones, and calibrate 8 bits.
        threads: of the verification, as in `Runtime`.

    Raises:
        ConfigError: 8 bits without images, images of other domains, or a file exists and
            `overwrite` is false.
        CheckpointError: missing, damaged or foreign; or results that are not those of the engine.
        DataError, ImageError: of the images.
        MissingExtra: onnx or onnxruntime is not installed.
        RunError: the system refuses to read or write.
    """
    model, out = local_model(model), Path(out)
    header, arrays = checkpoint.read(model / "model.safetensors" if model.is_dir() else model)
    arrays, weights = checkpoint.generators(header, arrays)
    header, recipe = replace(header, weights=weights), header.config.recipe
    if quantise and images is None:
        raise ConfigError("--quantise int8 is calibrated on training images: give --images DATA")
    runtime = Runtime(engine=header.config.runtime.engine, device="cpu", threads=threads)
    header = _as_model(header)
    directions = [d for d in DIRECTIONS if any(k.startswith(f"generator_{d}.") for k in arrays)]
    if not directions:
        raise CheckpointError(f"{model} holds no generator: give a run folder or its model")
    suffix = f"-{quantise}" if quantise else ""
    targets = {direction: out / f"model-{direction}{suffix}.onnx" for direction in directions}
    for path in targets.values():
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists: choose another --out, or replace it by --overwrite")
    data = None if images is None else _data(images, recipe)
    engine = _engine(recipe, runtime, arrays)
    exported = []
    for direction, path in targets.items():
        real = None if data is None else _real(data, recipe, source_of(direction))
        calibration = None
        if quantise and real is not None:  # every other image, and the rest shows the error
            calibration, real = real[::2], real[1::2] if len(real) > 1 else real
        content = make_onnx_file(header, arrays, direction, calibration, threads)
        differences: tuple[Difference, ...] = ()
        if engine is not None:
            runner = make_runtime("onnx", _in_fp32(recipe), runtime)
            runner.load_model(content, direction)
            differences = tuple(_differences(engine, runner, direction, recipe, real))
            worst = max(each.largest for each in differences)
            if not quantise and not worst <= TOLERANCE:
                raise CheckpointError(
                    f"{model}: its generator_{direction} in ONNX differs from the engine by "
                    f"{worst:.1e} in [-1, 1], over {TOLERANCE}, so it is not written: its weights "
                    "may be damaged"
                )
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        exported.append(Exported(path, differences))
    return exported


def _as_model(header: Header) -> Header:
    """A header without what belongs to a training alone."""
    return replace(header, kind="model", pending={}, config=Config(header.config.recipe, Runtime()))


def _in_fp32(recipe: Recipe) -> Recipe:
    return replace(recipe, precision="fp32")


def _engine(
    recipe: Recipe, runtime: Runtime, arrays: Mapping[str, np.ndarray]
) -> Translator | None:
    """The engine to compare with, in fp32; of two the one that trained; None if there is none."""
    other: Literal["torch", "jax"] = "jax" if runtime.engine == "torch" else "torch"
    for settings in (runtime, replace(runtime, engine=other)):
        try:
            engine = make_translator(_in_fp32(recipe), settings)
        except MissingExtra:
            continue
        engine.load_generators(arrays)
        return engine
    log.warning("not verified: no engine is installed (extras torch and jax)")
    return None


def _data(images: Source, recipe: Recipe) -> DataSet:
    """The data set, its domains in the order of the recipe."""
    data = find_source(images)
    if (data.name_a, data.name_b) == (recipe.name_b, recipe.name_a):
        data = data.swapped
    return data.read_as(*(Reading.of(recipe, domain) for domain in DOMAINS))


def _real(data: DataSet, recipe: Recipe, domain: Domain) -> Images:
    """Training images, evenly chosen, whole at the size of the training, in [-1, 1]."""
    folder = data.train_a if domain == "a" else data.train_b
    chosen = np.unique(np.linspace(0, len(folder) - 1, _IMAGES).astype(int)).tolist()
    side = recipe.image_size - recipe.image_size % STRIDE
    return load_whole(folder, chosen, DomainReader.of(recipe, domain, DEFAULT_MAX_PIXELS), side)


def _differences(
    engine: Translator, runner: Networks, direction: Direction, recipe: Recipe, real: Images | None
) -> Iterator[Difference]:
    bands = recipe.domains[source_of(direction)].bands
    rng = np.random.default_rng(0)
    random = [rng.uniform(-1, 1, (*size, bands)).astype(np.float32) for size in _RANDOM_SIZES]
    sets = [("random images", random)]
    if real is not None:
        sets.append((counted(len(real), "training image"), [image[None] for image in real]))
    for name, batches in sets:
        gaps = [
            np.abs(engine.translate(each, direction) - runner.translate(each, direction))
            for each in batches
        ]
        mean = sum(float(gap.sum(dtype=np.float64)) for gap in gaps) / sum(g.size for g in gaps)
        yield Difference(name, float(max(gap.max() for gap in gaps)), mean)
