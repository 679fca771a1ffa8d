"""A trained model ready to translate: what `unpaired.load` returns.

It takes images of any size and gives them back in the same size and kind. Inside, an image is
laid over white, brought to the bands of its domain, scaled to [-1, 1] and mirrored outwards to the
right and below up to multiples of 4, which the networks need; the result is cropped back.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt
import PIL.Image

from unpaired import checkpoint
from unpaired.config import Config, Recipe, Runtime
from unpaired.directions import DIRECTIONS, Direction
from unpaired.engines.choice import make_translator
from unpaired.engines.seam import Translator
from unpaired.errors import (
    CheckpointError,
    ConfigError,
    ImageError,
    MissingExtra,
    RunError,
    TooLarge,
)
from unpaired.images.header import reason_of
from unpaired.images.image import (
    DEFAULT_MAX_PIXELS,
    Image,
    from_pil,
    from_signed,
    over_white,
    read_header,
    read_image,
    to_pil,
    to_signed,
    with_bands,
)
from unpaired.translation import memory
from unpaired.translation.sizes import (
    pad,
    padded_size_of,
    require_working_size,
    resize,
    working_size_of,
)

__all__ = ["Model", "load"]

Floats = npt.NDArray[np.float32]

# Images at once, counted in pixels. Small images gain from company (up to a third at 32 px);
# from 256 px on a CPU is slower with it, see docs/results.md.
_PIXELS_ON_CPU = 256 * 256
_PIXELS_ELSEWHERE = 1024 * 1024


def load(
    path: str | Path,
    *,
    engine: Literal["auto", "torch", "jax"] = "auto",
    device: str = "auto",
    threads: int = 0,
) -> "Model":
    """Loads a run folder, its `model.safetensors`, or one of its checkpoints.

    Of a checkpoint the running mean of the weights is taken where there is one, as for
    `model.safetensors`. Any engine translates with the weights of any other: "auto" is the one
    that trained them where it is installed. `device` and `threads` are as in `Runtime`.

    Raises:
        CheckpointError: missing, damaged or foreign, or without a generator.
        ConfigError: no such device.
        MissingExtra: the framework is not installed.
        RunError: the system gives no access to it.
    """
    try:
        path = _weights_file(Path(path))
        header, arrays = checkpoint.read(path)
    except OSError as error:
        raise RunError(f"cannot read {path}: {reason_of(error)}") from error
    means = {
        name.removeprefix("ema."): array
        for name, array in arrays.items()
        if name.startswith("ema.generator_")
    }
    generators = means or {
        name: array for name, array in arrays.items() if name.startswith("generator_")
    }
    directions = tuple(
        direction
        for direction in DIRECTIONS
        if any(name.startswith(f"generator_{direction}.") for name in generators)
    )
    if not directions:
        raise CheckpointError(f"{path} holds no generator: give a run folder or its model")
    runtime = dataclasses.replace(header.config.runtime, device=device, threads=threads)
    if engine == "auto":
        translator, runtime = _any_translator(header.config.recipe, runtime)
    else:
        runtime = dataclasses.replace(runtime, engine=engine)
        translator = make_translator(header.config.recipe, runtime)
    translator.load_generators(generators)
    return Model(
        path=path,
        config=Config(header.config.recipe, runtime),
        step=header.step,
        weights="ema" if means else header.weights,
        directions=directions,
        translator=translator,
    )


def _any_translator(recipe: Recipe, runtime: Runtime) -> tuple[Translator, Runtime]:
    """That of the runtime's engine, or of the other where the first is not installed."""
    try:
        return make_translator(recipe, runtime), runtime
    except MissingExtra:
        other: Literal["torch", "jax"] = "jax" if runtime.engine == "torch" else "torch"
        instead = dataclasses.replace(runtime, engine=other)
        with contextlib.suppress(MissingExtra):
            return make_translator(recipe, instead), instead
        raise


def _weights_file(path: Path) -> Path:
    """The file that holds the weights of a run folder, or `path` itself."""
    if not path.is_dir():
        return path
    if not (path / "model.safetensors").is_file():
        there = checkpoint.checkpoints(path)
        hint = f"or give a checkpoint, such as {there[-1]}" if there else "or give another"
        raise CheckpointError(f"{path} has no model.safetensors: finish its training, {hint}")
    return path / "model.safetensors"


class Model:
    """Two generators, or one, with the configuration they were trained with. Made by `load`.

    `path` is the file it came from, `step` the training step it stands at, `weights` says whether
    they are a running mean, `directions` are those it translates in, and `translator` has the
    networks themselves.
    """

    def __init__(
        self,
        *,
        path: Path,
        config: Config,
        step: int,
        weights: Literal["ema", "last"],
        directions: tuple[Direction, ...],
        translator: Translator,
    ) -> None:
        self.path = path
        self.config = config
        self.step = step
        self.weights = weights
        self.directions = directions
        self.translator = translator
        self._on_cpu = translator.memory == "host"

    @property
    def name_a(self) -> str:
        """Name of domain a."""
        return self.config.recipe.name_a

    @property
    def name_b(self) -> str:
        """Name of domain b."""
        return self.config.recipe.name_b

    def direction(self, to: str) -> Direction:
        """The direction that ends in the domain `to`: its name, or "a" or "b".

        Raises:
            ConfigError: no such domain, or the model has no generator that ends there.
        """
        ends: dict[str, Direction] = {self.name_a: "ba", self.name_b: "ab", "a": "ba", "b": "ab"}
        if to not in ends:
            raise ConfigError(
                f"no domain {to!r} in {self.path}: choose {self.name_a} (a) or {self.name_b} (b)"
            )
        direction = ends[to]
        if direction not in self.directions:
            (other,) = self.directions
            raise ConfigError(
                f"{self.path} goes one way: it holds generator_{other} alone and translates to "
                f"{self.name_b if other == 'ab' else self.name_a}, not to {to}: "
                f"for that give a model with generator_{direction}"
            )
        return direction

    def result_kind(self, direction: Direction) -> tuple[int, Literal[8, 16]]:
        """(bands, depth) of the images that this direction gives."""
        recipe = self.config.recipe
        bands, depth = (
            (recipe.bands_b, recipe.depth_b)
            if direction == "ab"
            else (recipe.bands_a, recipe.depth_a)
        )
        return bands, 16 if depth == 16 else 8

    @overload
    def translate(
        self, image: npt.NDArray[Any], *, to: str, working_size: int | None = None
    ) -> npt.NDArray[Any]: ...

    @overload
    def translate(
        self,
        image: str | Path | PIL.Image.Image,
        *,
        to: str,
        working_size: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> PIL.Image.Image: ...

    def translate(
        self,
        image: str | Path | PIL.Image.Image | npt.NDArray[Any],
        *,
        to: str,
        working_size: int | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> npt.NDArray[Any] | PIL.Image.Image:
        """Translates one image to the domain `to`: its name, or "a" or "b".

        An image of Pillow, or the path of a file, gives an image of Pillow. An array, (height,
        width) or (height, width, bands) in uint8 or uint16, gives an array; of one band it has the
        two axes of its input, else three. The samples have the depth of the domain `to` (uint8 or
        uint16, over the whole range); grey and RGB convert into each other where the domains ask
        for it. Transparency is laid over white for the network and given back as it came.

        With `working_size` the longer side is brought to that many pixels for the network, down or
        up, and the result brought back to the image's own size, both by bicubic interpolation.
        Of a path, no image of more than `max_pixels` pixels is decoded; arrays and images of
        Pillow are in memory already and are not held to it.

        Raises:
            ConfigError: no such domain, or a working size under 8.
            ImageError: unreadable, of bands that do not fit, or a result that Pillow cannot hold.
            TooLarge: over `max_pixels`, or more memory is needed than is free.
        """
        direction = self.direction(to)
        if isinstance(image, np.ndarray):
            flat = image.ndim == 2
            value = Image(image[:, :, np.newaxis] if flat else image)
            (result,) = self.translate_many([value], direction, working_size=working_size)
            return result.pixels[:, :, 0] if flat and result.bands == 1 else result.pixels
        if isinstance(image, PIL.Image.Image):
            value = from_pil(image)
        else:
            header = read_header(image)
            self.check(
                direction,
                (header.height, header.width),
                header.bands,
                working_size=working_size,
                name=str(image),
            )
            value = read_image(image, max_pixels=max_pixels)
        self._require_pillow_can_hold(direction, value.alpha is not None)
        (result,) = self.translate_many([value], direction, working_size=working_size)
        return to_pil(result)

    def translate_many(
        self,
        images: Sequence[Image],
        direction: Direction,
        *,
        working_size: int | None = None,
        batch_size: int = 8,
    ) -> list[Image]:
        """Translates images of any sizes; those of one size at once, `batch_size` at the most.

        Each result has its image's size and transparency, and the bands and depth of the other
        domain. An image's result does not depend on its company beyond the rounding of floats.

        Raises:
            ConfigError: a working size under 8.
            ImageError: bands that do not fit the domain.
            TooLarge: an image needs more memory than is free.
        """
        alike: dict[tuple[int, int], list[int]] = {}
        for index, image in enumerate(images):
            self.check(direction, image.size, image.bands, working_size=working_size)
            padded = padded_size_of(working_size_of(image.size, working_size))
            alike.setdefault(padded, []).append(index)
        results: dict[int, Image] = {}
        for padded, indices in alike.items():
            largest = max((images[index].size for index in indices), key=np.prod)
            together = self._batch_limit(direction, largest, working_size, batch_size)
            for start in range(0, len(indices), together):
                chosen = indices[start : start + together]
                batch = np.empty((len(chosen), *padded, self._source_bands(direction)), np.float32)
                for row, index in enumerate(chosen):
                    signed = self._network_input(images[index], direction, working_size)
                    batch[row] = pad(signed, padded)
                translated = self._run(batch, direction)
                for index, signed in zip(chosen, translated, strict=True):
                    results[index] = self._image(signed, images[index], direction, working_size)
        return [results[index] for index in range(len(images))]

    def check(
        self,
        direction: Direction,
        size: tuple[int, int],
        bands: int,
        *,
        working_size: int | None = None,
        name: str = "the image",
    ) -> None:
        """Refuses an image by what its header says: `size` (height, width) and `bands`.

        Raises:
            ConfigError: a working size under 8.
            ImageError: bands that do not fit the domain it is translated from.
            TooLarge: it needs more memory than is free.
        """
        require_working_size(working_size)
        expected = self._source_bands(direction)
        if bands != expected and {bands, expected} != {1, 3}:
            source = self.name_a if direction == "ab" else self.name_b
            raise ImageError(
                f"{name}: has {bands} bands where {source} has {expected}: only grey and RGB "
                "convert into each other"
            )
        memory.require(
            self.config.recipe, direction, size, working_size, network=self._on_cpu, name=name
        )

    def _source_bands(self, direction: Direction) -> int:
        recipe = self.config.recipe
        return recipe.bands_a if direction == "ab" else recipe.bands_b

    def _batch_limit(
        self, direction: Direction, size: tuple[int, int], working_size: int | None, most: int
    ) -> int:
        """How many images to translate at once."""
        height, width = padded_size_of(working_size_of(size, working_size))
        pixels = _PIXELS_ON_CPU if self._on_cpu else _PIXELS_ELSEWHERE
        together = max(min(most, pixels // (height * width)), 1)
        recipe, network = self.config.recipe, self._on_cpu
        while together > 1 and not memory.fits(
            memory.need(recipe, direction, size, working_size, batch=together, network=network)
        ):
            together //= 2
        return together

    def _network_input(
        self, image: Image, direction: Direction, working_size: int | None
    ) -> Floats:
        """(height, width, bands) in [-1, 1], at the working size."""
        pixels = with_bands(over_white(image), self._source_bands(direction))
        target = working_size_of(image.size, working_size)
        if target == image.size:
            return to_signed(pixels)
        bands = [resize(to_signed(pixels[:, :, band]), target) for band in range(pixels.shape[2])]
        return np.stack(bands, axis=2)

    def _image(
        self, signed: Floats, source: Image, direction: Direction, working_size: int | None
    ) -> Image:
        """The image out of a network's result, in the size of its source."""
        bands, depth = self.result_kind(direction)
        height, width = working_size_of(source.size, working_size)
        signed = signed[:height, :width]
        if (height, width) == source.size:
            return Image(from_signed(signed, depth), source.alpha)
        # Band by band: in floating point the whole image would be four times its size.
        pixels = np.empty((*source.size, bands), np.uint8 if depth == 8 else np.uint16)
        for band in range(bands):
            pixels[:, :, band] = from_signed(resize(signed[:, :, band], source.size), depth)
        return Image(pixels, source.alpha)

    def _run(self, batch: Floats, direction: Direction) -> npt.NDArray[Any]:
        try:
            return self.translator.translate(batch, direction)
        except (MemoryError, RuntimeError) as error:
            # Frameworks have their own errors, and all of these words in common.
            if isinstance(error, RuntimeError) and "memory" not in str(error).lower():
                raise
            height, width = batch.shape[1:3]
            raise TooLarge(
                f"the memory of the device does not hold an image of {width} x {height} pixels: "
                "translate it smaller with --working-size"
            ) from error

    def _require_pillow_can_hold(self, direction: Direction, transparent: bool) -> None:
        """Refuses before the work what `to_pil` would refuse after it."""
        bands, depth = self.result_kind(direction)
        dot = from_signed(np.zeros((1, 1, bands)), depth)
        to_pil(Image(dot, np.zeros((1, 1), np.uint8) if transparent else None))
