"""Weights of the authors' PyTorch code, in and out: which tensor of theirs is which of ours.

Source: the layout of the files of github.com/junyanz/pytorch-CycleGAN-and-pix2pix, one `state_dict`
a network. Their `G_A` maps A to B and their `D_A` judges B. All their convolutions have a bias; in
front of an instance norm it has no effect and ours have none: dropped coming in, zeros going out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from unpaired.config import Recipe
from unpaired.engines.seam import Arrays
from unpaired.errors import CheckpointError, ConfigError

__all__ = ["Network", "join", "our_name", "recognise", "to_original"]

# Which network of ours each of theirs is.
_OURS = {
    "G_A": "generator_ab",
    "G_B": "generator_ba",
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Network:
    """One network out of a file of theirs, its tensors under our names.

    `depth` counts the residual blocks of a generator, the layers of a discriminator (3 is 70x70);
    a discriminator has one band out. `arrays` are float32, named as in docs/concepts.md without the
    network's own name in front.
    """

    kind: Literal["generator", "discriminator"]
    source: str
    bands_in: int
    bands_out: int
    width: int
    depth: int
    arrays: Arrays = field(repr=False)

    def __str__(self) -> str:
        if self.kind == "generator":
            return (
                f"{self.bands_in} -> {self.bands_out} bands, width {self.width}, "
                f"{self.depth} blocks"
            )
        return f"{self.bands_in} bands, width {self.width}, {self.depth} layers"


@dataclass(frozen=True)
class _Layer:
    """One convolution: our name and theirs, the shape of its weight, the channels that come out."""

    ours: str
    theirs: str
    shape: tuple[int, int, int, int]
    out: int
    biased: bool = False  # ours has the bias too


def our_name(stem: str) -> str | None:
    """The network of ours that a file's name without suffix tells; None where it tells none.

    Raises:
        CheckpointError: it tells two.
    """
    found = set(re.findall(r"(?<![A-Za-z0-9])(?:net)?([GD]_[AB])(?![A-Za-z0-9])", stem))
    if len(found) > 1:
        raise CheckpointError(
            f"{stem} is named after {' and '.join(sorted(found))}: name it after the one it holds"
        )
    return _OURS[found.pop()] if found else None


def recognise(state: Mapping[str, np.ndarray], source: str) -> Network:
    """Reads a generator or discriminator off the names and shapes of a `state_dict`.

    Prefixes of wrappers (`module.`, `_orig_mod.`) and buffers of instance norms do not count.
    Errors name the `source`.

    Raises:
        CheckpointError: another architecture, or weights that are no finite numbers.
    """
    tensors = _bare(state, source)
    if any(re.match(r"model\.model\.\d+\.model\.", name) for name in tensors):
        raise CheckpointError(
            f"{source} holds a U-Net (--netG unet_128 or unet_256): only ResNet generators are read"
        )
    if any(re.match(r"net\.\d+\.", name) for name in tensors):
        raise CheckpointError(
            f"{source} holds a pixel discriminator (--netD pixel): only PatchGAN is read"
        )
    norms = [name for name, array in tensors.items() if name.endswith("weight") and array.ndim == 1]
    if norms:
        raise CheckpointError(
            f"{source} has norms with weights of their own ({_shown(norms[0])}), as batch norm has "
            "(--norm batch): only instance norm without weights is read"
        )
    if "model.1.weight" in tensors:
        return _generator(tensors, source)
    if "model.0.weight" in tensors:
        return _discriminator(tensors, source)
    seen = ", ".join(_shown(name) for name in list(tensors)[:3]) or "nothing"
    raise CheckpointError(
        f"{source} holds neither a ResNet generator nor a PatchGAN discriminator of the authors' "
        f"code: it has {seen}"
    )


def join(networks: Mapping[str, Network]) -> tuple[dict[str, object], Arrays]:
    """What the shapes tell of the recipe, and all tensors, of `networks` by our names.

    Raises:
        CheckpointError: no generator, or networks that are not of one model: other widths or
            depths, or another count of bands for one domain.
    """
    generators = [network for network in networks.values() if network.kind == "generator"]
    discriminators = [network for network in networks.values() if network.kind == "discriminator"]
    if not generators:
        raise CheckpointError("no generator among the files: give that of G_A, of G_B, or both")
    _require_alike(generators, "blocks")
    _require_alike(discriminators, "layers")
    told: dict[str, object] = {"width": generators[0].width, "blocks": generators[0].depth}
    if discriminators:
        told["discriminator_width"] = discriminators[0].width
        told["discriminator_layers"] = discriminators[0].depth
    bands: dict[str, tuple[int, str]] = {}
    for name, network in networks.items():
        letters = name.partition("_")[2]
        counts = (network.bands_in, network.bands_out)[: len(letters)]
        for domain, count in zip(letters, counts, strict=True):
            other, source = bands.setdefault(domain, (count, network.source))
            if other != count:
                raise CheckpointError(
                    f"{source} has {other} bands for domain {domain} and {network.source} has "
                    f"{count}: they are not of one model"
                )
    told |= {f"bands_{domain}": count for domain, (count, _) in bands.items()}
    arrays = {
        f"{name}.{key}": array
        for name, network in networks.items()
        for key, array in network.arrays.items()
    }
    return told, arrays


def to_original(arrays: Mapping[str, np.ndarray], recipe: Recipe) -> dict[str, Arrays]:
    """A `state_dict` in float32 for each network that `arrays` hold, by their names (`G_A`, ...).

    Raises:
        ConfigError: their code has no such networks.
        CheckpointError: a tensor is missing or has another shape than the recipe says.
    """
    if recipe.upsample != "transposed":
        raise ConfigError(
            f"this model goes up by {recipe.upsample} convolutions, and generators of the original "
            "code only by transposed ones: train with --upsample transposed to export"
        )
    bands = {"a": recipe.bands_a, "b": recipe.bands_b}
    files: dict[str, Arrays] = {}
    for theirs, ours in _OURS.items():
        if not any(name.startswith(f"{ours}.") for name in arrays):
            continue
        kind, _, letters = ours.partition("_")
        if kind == "generator":
            ends = bands[letters[0]], bands[letters[1]]
            layers = _generator_layers(*ends, recipe.width, recipe.blocks)
        else:
            width, depth = recipe.discriminator_width, recipe.discriminator_layers
            layers = _discriminator_layers(bands[letters], width, depth)
        files[theirs] = {}
        for layer in layers:
            weight = _taken(arrays, f"{ours}.{layer.ours}.weight", layer.shape)
            bias = np.zeros(layer.out, np.float32)
            if layer.biased:
                bias = _taken(arrays, f"{ours}.{layer.ours}.bias", (layer.out,))
            files[theirs] |= {f"{layer.theirs}.weight": weight, f"{layer.theirs}.bias": bias}
    return files


def _generator(tensors: Arrays, source: str) -> Network:
    blocks = len({name.split(".")[1] for name in tensors if ".conv_block." in name})
    # Where dropout was built in, it has a place of its own before the second convolution.
    second = 6 if "model.10.conv_block.6.weight" in tensors else 5
    width, bands_in = _shape(tensors, "model.1.weight", source)[:2]
    bands_out = _shape(tensors, f"model.{17 + blocks}.weight", source)[0]
    layers = _generator_layers(bands_in, bands_out, width, blocks, second)
    arrays = _take(tensors, layers, f"a ResNet generator of {blocks} blocks", source)
    return Network("generator", source, bands_in, bands_out, width, blocks, arrays)


def _discriminator(tensors: Arrays, source: str) -> Network:
    depth = max(sum(name.endswith(".weight") for name in tensors) - 2, 1)
    width, bands = _shape(tensors, "model.0.weight", source)[:2]
    layers = _discriminator_layers(bands, width, depth)
    arrays = _take(tensors, layers, f"a PatchGAN discriminator of {depth} layers", source)
    return Network("discriminator", source, bands, 1, width, depth, arrays)


def _generator_layers(
    bands_in: int, bands_out: int, width: int, blocks: int, second: int = 5
) -> list[_Layer]:
    """`second` is the place of a block's second convolution: 5, or 6 after a dropout."""
    w, after = width, 10 + blocks
    return [
        _Layer("stem", "model.1", (w, bands_in, 7, 7), w),
        _Layer("down.0", "model.4", (2 * w, w, 3, 3), 2 * w),
        _Layer("down.1", "model.7", (4 * w, 2 * w, 3, 3), 4 * w),
        *(
            _Layer(
                f"blocks.{block}.conv{conv}",
                f"model.{10 + block}.conv_block.{place}",
                (4 * w, 4 * w, 3, 3),
                4 * w,
            )
            for block in range(blocks)
            for conv, place in ((1, 1), (2, second))
        ),
        # Transposed: the channels that go in come first.
        _Layer("up.0.conv", f"model.{after}", (4 * w, 2 * w, 3, 3), 2 * w),
        _Layer("up.1.conv", f"model.{after + 3}", (2 * w, w, 3, 3), w),
        _Layer("head", f"model.{after + 7}", (bands_out, w, 7, 7), bands_out, biased=True),
    ]


def _discriminator_layers(bands: int, width: int, depth: int) -> list[_Layer]:
    channels = [bands] + [width * min(2**k, 8) for k in range(depth + 1)]
    return [
        *(
            _Layer(
                f"layers.{k}",
                f"model.{max(3 * k - 1, 0)}",
                (channels[k + 1], channels[k], 4, 4),
                channels[k + 1],
                biased=k == 0,
            )
            for k in range(depth + 1)
        ),
        _Layer("head", f"model.{3 * depth + 2}", (1, channels[-1], 4, 4), 1, biased=True),
    ]


def _bare(state: Mapping[str, np.ndarray], source: str) -> Arrays:
    """The tensors without prefixes of wrappers and without buffers of norms."""
    tensors: Arrays = {}
    for name, array in state.items():
        bare = re.sub(r"^(module\.|_orig_mod\.)+", "", name)
        if bare.rpartition(".")[2] in _BUFFERS:
            continue
        if bare in tensors:
            raise CheckpointError(f"{source} holds {_shown(bare)} twice, with a prefix and without")
        tensors[bare] = array
    return tensors


def _take(tensors: Arrays, layers: Sequence[_Layer], what: str, source: str) -> Arrays:
    """The tensors of `layers` under our names, if they are all there is and have their shapes."""
    shapes: dict[str, tuple[int, ...]] = {f"{layer.theirs}.weight": layer.shape for layer in layers}
    shapes |= {f"{layer.theirs}.bias": (layer.out,) for layer in layers}
    void = [f"{layer.theirs}.bias" for layer in layers if not layer.biased]
    missing = [name for name in shapes if name not in tensors]
    unexpected = [name for name in tensors if name not in shapes]
    if missing == void and not unexpected:
        raise CheckpointError(
            f"{source} has no biases in front of its norms, as with --norm none: only networks "
            "with instance norm are read"
        )
    if missing or unexpected:
        found = (unexpected or missing)[0]
        raise CheckpointError(
            f"{source} is not {what} as the authors' code has it: {_shown(found)} is "
            f"{'unexpected' if unexpected else 'missing'}"
        )
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise CheckpointError(
                f"{source} is not {what} as the authors' code has it: {name} has shape "
                f"{tensors[name].shape}, expected {shape}"
            )
    arrays: Arrays = {}
    for layer in layers:
        for part in ("weight", "bias") if layer.biased else ("weight",):
            array = tensors[f"{layer.theirs}.{part}"]
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise CheckpointError(
                    f"{source}: {layer.theirs}.{part} holds NaN, infinity or no fractions at all"
                )
            arrays[f"{layer.ours}.{part}"] = array.astype(np.float32)
    return arrays


def _taken(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor of ours in float32."""
    if name not in arrays or arrays[name].shape != shape:
        found = f"has shape {arrays[name].shape}" if name in arrays else "is missing"
        raise CheckpointError(
            f"the weights do not fit the recipe: {name} {found}, expected {shape}"
        )
    return arrays[name].astype(np.float32)


def _shape(tensors: Arrays, name: str, source: str) -> tuple[int, ...]:
    """The shape of a kernel that tells bands and width."""
    shape = tensors[name].shape if name in tensors else ()
    if len(shape) != 4 or 0 in shape:
        found = f"has shape {shape}" if name in tensors else "is missing"
        raise CheckpointError(
            f"{source} is no network of the authors' code: {name} {found}, a kernel is needed"
        )
    return shape


def _require_alike(networks: Sequence[Network], depth: str) -> None:
    for network in networks[1:]:
        first = networks[0]
        if (network.width, network.depth) != (first.width, first.depth):
            raise CheckpointError(
                f"{first.source} has width {first.width} and {first.depth} {depth}, "
                f"{network.source} width {network.width} and {network.depth}: "
                "they are not of one model"
            )


def _shown(name: str) -> str:
    """A name out of a file of strangers, fit for a line of text."""
    return ascii(name[:80])
