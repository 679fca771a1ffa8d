"""A trained model ready to translate: what `unpaired.load` returns.

It takes images of any size and returns them in the same size and kind. Inside, an image is
composited over white, converted to the bands of its domain, scaled to [-1, 1] and mirrored
outwards to the right and below up to multiples of 4, which the networks need; the result is
cropped back.
"""

import dataclasses
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from unpaired.config import DEFAULT_MAX_PIXELS, Config
from unpaired.console import log
from unpaired.directions import Direction, direction_to, source_of, target_of
from unpaired.engines.loading import EngineChoice, RuntimeChoice, read_generators, start_translator
from unpaired.engines.seam import Networks, generators_of
from unpaired.engines.tiles import TileNetworks
from unpaired.errors import ConfigError, ImageError, TooLarge, quoted
from unpaired.images.formats import Reading, read_image
from unpaired.images.image import Image
from unpaired.images.pillow import from_pil, to_pil
from unpaired.images.scaling import Scaling
from unpaired.notebook.before_after import BeforeAfter
from unpaired.translation import memory
from unpaired.translation.detail import Detail
from unpaired.translation.fit import Area, Fit, fit, require_samples
from unpaired.translation.precision import Measured, Precision, fingerprint, require_precision
from unpaired.translation.remembered import ChoiceFile, cache_file
from unpaired.translation.sizes import Sizes, from_network, say, to_network
from unpaired.translation.streaming.driver import Network
from unpaired.translation.streaming.images import is_streamed, stream_image
from unpaired.translation.streaming.options import Streaming
from unpaired.translation.streaming.run import Streamer

__all__ = ["Model", "load"]


def load(
    path: str | Path,
    *,
    engine: EngineChoice = "auto",
    device: str = "auto",
    threads: int = 0,
    precision: Precision = "auto",
    runtime: RuntimeChoice = "auto",
) -> "Model":
    """Loads a run folder, its `model.safetensors`, one of its checkpoints, or an exported file.

    Or a model of a hub, "hf://owner/name" or "hf://owner/name@revision" (extra `hub`).

    Of a checkpoint the EMA of the weights is taken where there is one, as for
    `model.safetensors`. Any engine translates with the weights of any other: "auto" is the one
    that trained them where it is installed. `device` and `threads` are as in `Runtime`.
    `precision` is that of the convolutions: "recipe" as trained, "fp32", "bf16", or "auto", the
    fastest way within 1.5 levels of 255 of fp32 on average. It is measured after some images and
    remembered in the user's cache folder; until then "auto" is as trained.
    `runtime` executes the networks: an "engine", or as ONNX models onnxruntime ("onnx") or
    "openvino", both on the CPU; "auto" is onnxruntime for `.onnx` files, else the engine. A `.onnx`
    file of `unpaired export` has one direction.

    Raises:
        CheckpointError: missing, damaged or foreign, without a generator, or with weights that no
            training gives: NaN, infinite, huge.
        ConfigError: the device is not available, `threads` is out of its range, no such precision
            or runtime, or one that does not go with the others.
        MissingExtra: the framework or runtime is not installed.
        RunError: the system gives no access to it, or it needs more memory than is free.
        TooLarge: its networks need more memory than is free.
    """
    require_precision(precision)
    read = read_generators(path)
    recipe = read.header.config.recipe
    settings = dataclasses.replace(read.header.config.runtime, device=device, threads=threads)
    translator, settings, name = start_translator(read, engine, runtime, settings)
    log.debug("translating with %s on %s, %s weights", name, settings.device, read.weights)
    return Model(
        path=read.path,
        config=Config(recipe, settings),
        step=read.header.step,
        weights=read.weights,
        directions=read.directions,
        translator=Measured(
            translator,
            precision,
            recipe.precision,
            fingerprint(recipe, read.content),
            ChoiceFile(cache_file()),
        ),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """Two generators, or one, with the configuration they were trained with. See `load`.

    `path` is the file they were loaded from, `step` the training step they are of, `weights` tells
    whether they are the EMA or the last weights, `directions` are those it translates in, and
    `translator` has the networks themselves. `streaming` says what images are streamed, and how.
    """

    path: Path
    config: Config
    step: int
    weights: Literal["ema", "last"]
    directions: tuple[Direction, ...]
    translator: Networks
    streaming: Streaming = Streaming()
    _said: set[str] = dataclasses.field(default_factory=set, init=False, repr=False)

    @property
    def name_a(self) -> str:
        """Name of domain a."""
        return self.config.recipe.name_a

    @property
    def name_b(self) -> str:
        """Name of domain b."""
        return self.config.recipe.name_b

    def direction(self, to: str) -> Direction:
        """The direction to the domain `to`: its name, or "a" or "b".

        Raises:
            ConfigError: no such domain, or the model has no generator to it.
        """
        domains = self.config.recipe.domains
        named = {facts.name: domain for domain, facts in domains.items()}
        named.update({domain: domain for domain in domains})
        if to not in named:
            raise ConfigError(
                f"no domain {quoted(to)} in {self.path}: "
                f"choose {self.name_a} (a) or {self.name_b} (b)"
            )
        direction = direction_to(named[to])
        if direction not in self.directions:
            (other,) = self.directions
            raise ConfigError(
                f"{self.path} has one direction: its generator_{other} translates to "
                f"{domains[target_of(other)].name}, not to {to}: "
                f"for that give a model with generator_{direction}"
            )
        return direction

    def blank(self, direction: Direction) -> Image:
        """One pixel of the kind of the images that this direction gives."""
        facts = self.config.recipe.domains[target_of(direction)]
        return Image(Scaling.of(facts).from_signed(np.zeros((1, 1, facts.bands))))

    @overload
    def translate(
        self,
        image: NDArray[Any],
        *,
        to: str,
        working_size: int | None = None,
        detail: Detail | None = None,
    ) -> NDArray[Any]: ...

    @overload
    def translate(
        self,
        image: str | Path | PIL.Image.Image,
        *,
        to: str,
        working_size: int | None = None,
        detail: Detail | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> PIL.Image.Image: ...

    def translate(
        self,
        image: str | Path | PIL.Image.Image | NDArray[Any],
        *,
        to: str,
        working_size: int | None = None,
        detail: Detail | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> NDArray[Any] | PIL.Image.Image:
        """Translates one image to the domain `to`: its name, or "a" or "b".

        A Pillow image, or the path of a file, gives a Pillow image. An array, (height, width) or
        (height, width, bands) in uint8 or uint16, gives an array; with one band it has the axes of
        its input, else three. The samples have the depth of the domain `to` (uint8 or uint16, over
        the whole range; of a domain of rasters its own values and type, as input too); grey and RGB
        convert into each other where the domains ask for it. Transparency is composited over white
        for the network and returned unchanged.

        With `working_size` the longer side is resized to that many pixels for the network, down or
        up, and the result resized back to the image's own size, both by bicubic interpolation:
        enlarged, it is blurred. With `detail` "keep" the change that the network made is enlarged
        instead and applied to the image, whose grain and edges stay (see `translation.detail`);
        the domains must have as many bands. With "keep" an image that does not fit in memory is
        translated so at a working size of 1,024 pixels, or less, and a warning says so; without
        `detail` likewise where it cannot be streamed.
        Of a path, no image of more than `max_pixels` pixels is decoded; arrays and Pillow images
        are in memory already, so the limit does not apply to them.

        Raises:
            ConfigError: no such domain, a working size under 8, or detail to keep where bands
                differ.
            ImageError: unreadable, of bands that do not fit, or a result that Pillow cannot hold.
            TooLarge: over `max_pixels`, or more memory is needed than is free.
        """
        direction = self.direction(to)
        many = partial(self.translate_many, working_size=working_size, detail=detail)
        if isinstance(image, np.ndarray):
            flat = image.ndim == 2
            value = Image(image[:, :, np.newaxis] if flat else image)
            require_samples(value, self.config.recipe.domains[source_of(direction)])
            (result,) = many([value], direction)
            return result.pixels[:, :, 0] if flat and result.bands == 1 else result.pixels
        if isinstance(image, PIL.Image.Image):
            value = from_pil(image)
        else:
            found = self.check_file(image, direction, working_size, detail=detail)
            bands = self.config.recipe.domains[source_of(direction)].bands
            value = read_image(image, found.reading, max_pixels=max_pixels, bands=bands)
        # What Pillow cannot hold is rejected before the work: one pixel of it is tried.
        alpha = None if value.alpha is None else np.zeros((1, 1), np.uint8)
        to_pil(Image(self.blank(direction).pixels, alpha))
        (result,) = many([value], direction)
        return to_pil(result)

    def before_after(
        self,
        image: str | Path | PIL.Image.Image,
        *,
        to: str,
        working_size: int | None = None,
        detail: Detail | None = None,
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> BeforeAfter:
        """Translates as `translate` does; notebooks show the result beside its original."""
        direction = self.direction(to)
        if not isinstance(image, PIL.Image.Image):
            found = self.check_file(image, direction, working_size, detail=detail)
            bands = self.config.recipe.domains[source_of(direction)].bands
            image = to_pil(read_image(image, found.reading, max_pixels=max_pixels, bands=bands))
        after = self.translate(image, to=to, working_size=working_size, detail=detail)
        names = (self.name_a, self.name_b)
        return BeforeAfter(image, after, names if direction == "ab" else names[::-1])

    def translate_many(
        self,
        images: Sequence[Image],
        direction: Direction,
        *,
        working_size: int | None = None,
        detail: Detail | None = None,
        batch_size: int = 8,
    ) -> list[Image]:
        """Translates images of any sizes; those of one size at once, at most `batch_size`.

        Each result has its image's size and transparency, and the bands and depth of the other
        domain. An image's result does not depend on the rest of its batch beyond the rounding of
        floats. `working_size` and `detail` are as for `translate`.

        Raises:
            ConfigError: a working size under 8, or detail to keep where bands differ.
            ImageError: bands that do not fit the domain, or networks that give NaN or infinity.
            TooLarge: an image needs more memory than is free, or than the device has.
        """
        sizes = [
            self.check(direction, image.size, image.bands, working_size=working_size, detail=detail)
            for image in images
        ]
        alike: dict[tuple[int, int], list[int]] = {}
        for index, each in enumerate(sizes):
            alike.setdefault(each.padded, []).append(index)
        domains = self.config.recipe.domains
        source, target = domains[source_of(direction)], domains[target_of(direction)]
        bands, scaling = source.bands, Scaling.of(source)
        for each in sizes:
            say(each, working_size, detail, self._said, equal=bands == target.bands)
        results: dict[int, Image] = {}
        if streamer := self.streamer(direction, working_size, detail):
            for index in [i for i, image in enumerate(images) if is_streamed(streamer, image.size)]:
                alike[sizes[index].padded].remove(index)
                results[index] = stream_image(streamer, images[index])
            alike = {padded: left for padded, left in alike.items() if left}
        for padded, indices in alike.items():
            largest = max((sizes[index] for index in indices), key=lambda s: math.prod(s.original))
            host, peak = self.translator.memory == "host", memory.peak_of(self._networks)
            together = memory.batch_limit(
                self.config.recipe, direction, largest, batch_size, network=host, peak=peak
            )
            for start in range(0, len(indices), together):
                chosen = indices[start : start + together]
                batch = np.empty((len(chosen), *padded, bands), np.float32)
                for row, index in enumerate(chosen):
                    batch[row] = to_network(images[index], sizes[index], bands, scaling)
                try:
                    translated = self.translator.translate(batch, direction)
                except TooLarge:
                    if streamer is None:
                        raise
                    del batch  # a device has less memory than the machine: tiles may fit
                    results.update((i, stream_image(streamer, images[i])) for i in chosen)
                    continue
                if not np.isfinite(translated).all():
                    raise ImageError(
                        f"the networks of {self.path} give NaN or infinity for it: its weights are "
                        "damaged or not trained, or overflow in this precision"
                    )
                for index, signed, small in zip(chosen, translated, batch, strict=True):
                    results[index] = from_network(
                        signed, small, images[index], sizes[index], (source, target)
                    )
        return [results[index] for index in range(len(images))]

    def check(
        self,
        direction: Direction,
        size: tuple[int, int],
        bands: int,
        *,
        working_size: int | None = None,
        detail: Detail | None = None,
        name: str = "the image",
    ) -> Sizes:
        """Checks an image by what its header says: `size` (height, width) and `bands`.

        Raises:
            ConfigError: a working size under 8, or detail to keep where bands differ.
            ImageError: bands that do not fit the domain it is translated from.
            TooLarge: it needs more memory than is free.
        """
        source = self.config.recipe.domains[source_of(direction)]
        if bands != source.bands and {bands, source.bands} != {1, 3}:
            raise ImageError(
                f"{name}: has {bands} bands where {source.name} has {source.bands}: only grey and "
                "RGB convert into each other"
            )
        streamer = self.streamer(direction, working_size, detail)
        if streamer and is_streamed(streamer, size):
            return Sizes.of(size, None)
        network, recipe = self.translator.memory == "host", self.config.recipe
        return memory.settle(
            recipe,
            direction,
            size,
            working_size,
            detail,
            network=network,
            peak=memory.peak_of(self._networks),
            name=name,
        )

    def streamer(
        self, direction: Direction, working_size: int | None = None, detail: Detail | None = None
    ) -> Streamer | None:
        """What streams images at their own size; None for other sizes and for ONNX models."""
        networks = self._networks
        if working_size is not None or detail is not None or not isinstance(networks, TileNetworks):
            return None
        recipe = self.config.recipe
        layers = generators_of(recipe)[f"generator_{direction}"]
        network = Network(networks, layers, direction, str(self.path))
        host = self.translator.memory == "host"
        return Streamer(network, recipe, self.streaming, self.path, host)

    def reading(self, direction: Direction) -> Reading:
        """How the images it was trained on were read, those that a direction translates."""
        return Reading.of(self.config.recipe, source_of(direction))

    def check_file(
        self,
        path: str | Path,
        direction: Direction,
        working_size: int | None,
        reading: Reading | None = None,
        area: Area | None = None,
        detail: Detail | None = None,
    ) -> Fit:
        """Checks an image file by its header, and finds how it is read. Raises as `check`.

        `reading` is how it will be read; None: as the images that the model was trained on. With
        `area` a part of it is translated.
        """
        facts = self.config.recipe.domains[source_of(direction)]
        found = fit(path, facts, reading or self.reading(direction), area)
        check = partial(self.check, working_size=working_size, detail=detail, name=str(path))
        check(direction, (found.header.height, found.header.width), found.header.bands)
        return found

    @property
    def _networks(self) -> object:
        """The networks themselves, beneath what chooses how they compute."""
        return getattr(self.translator, "translator", self.translator)
