"""Weights of the authors' PyTorch code, in and out: which tensor of theirs is which of ours.

Source: the layout of the files of github.com/junyanz/pytorch-CycleGAN-and-pix2pix, one `state_dict`
a network. Their `G_A` maps A to B and their `D_A` judges B. All their convolutions have a bias; in
front of an instance norm it has no effect and ours have none: dropped on import, zeros on export.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from unpaired.config import Recipe
from unpaired.engines.architecture import discriminator_layers, generator_layers
from unpaired.engines.seam import Arrays
from unpaired.errors import CheckpointError, ConfigError

__all__ = ["OriginalNetwork", "join", "our_name", "recognise", "to_original"]

# Their name of each network, and ours.
_OURS = {
    "G_A": "generator_ab",
    "G_B": "generator_ba",
    "D_A": "discriminator_b",
    "D_B": "discriminator_a",
}
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
# The recipe's names of the width and depth of each kind of network.
_SIZES = {
    "generator": ("width", "blocks"),
    "discriminator": ("discriminator_width", "discriminator_layers"),
}
# Names of tensors that identify another network of theirs.
_OTHERS = {
    r"model\.model\.\d+\.model\.": "a U-Net (--netG unet_128 or unet_256): only ResNet generators",
    r"net\.\d+\.": "a pixel discriminator (--netD pixel): only PatchGAN discriminators",
}

Tensors = Mapping[str, tuple[str | None, tuple[int, ...]]]
"""Of one network, by their names and in their order: our name, None for a bias that has no effect
and that ours lacks, and the shape."""


@dataclass(frozen=True)
class OriginalNetwork:
    """One network from a file of the authors' code, its tensors under our names.

    `depth` counts the residual blocks of a generator, the layers of a discriminator (3 is 70x70);
    a discriminator's `bands_out` is 1. `arrays` are float32, named as in docs/concepts.md without
    the network's own name in front.
    """

    kind: Literal["generator", "discriminator"]
    source: str
    bands_in: int
    bands_out: int
    width: int
    depth: int
    arrays: Arrays = field(repr=False)

    def __str__(self) -> str:
        if self.kind == "discriminator":
            return f"{self.bands_in} bands, width {self.width}, {self.depth} layers"
        bands = f"{self.bands_in} -> {self.bands_out} bands"
        return f"{bands}, width {self.width}, {self.depth} blocks"


def our_name(stem: str) -> str | None:
    """Our name of the network that a file's name without suffix tells; None if it tells none.

    >>> our_name("latest_net_G_A"), our_name("latest_net_D_A"), our_name("summer2winter")
    ('generator_ab', 'discriminator_b', None)

    Raises:
        CheckpointError: it tells two.
    """
    found = set(re.findall(r"(?<![A-Za-z0-9])(?:net)?([GD]_[AB])(?![A-Za-z0-9])", stem))
    if len(found) > 1:
        raise CheckpointError(
            f"{stem} is named after {' and '.join(sorted(found))}: name it after the one it holds"
        )
    return _OURS[found.pop()] if found else None


def recognise(state: Mapping[str, np.ndarray], source: str) -> OriginalNetwork:
    """Recognises a generator or discriminator by the names and shapes of a `state_dict`.

    Prefixes of wrappers (`module.`, `_orig_mod.`) and buffers of instance norms are ignored.
    Errors name the `source`.

    Raises:
        CheckpointError: another architecture, or weights that are not finite numbers.
    """
    found = _bare(state, source)
    for pattern, meaning in _OTHERS.items():
        if any(re.match(pattern, name) for name in found):
            raise CheckpointError(f"{source} holds {meaning} are read")
    norms = [name for name, array in found.items() if name.endswith("weight") and array.ndim == 1]
    if norms:
        raise CheckpointError(
            f"{source} has norms with weights of their own ({_shown(norms[0])}), as batch norm has "
            "(--norm batch): only instance norm without weights is read"
        )
    kind: Literal["generator", "discriminator"] = "generator"
    dropout = "model.10.conv_block.6.weight" in found
    if "model.1.weight" in found:
        depth = len({name.split(".")[1] for name in found if ".conv_block." in name})
        width, bands_in = _kernel(found, "model.1.weight", source)[:2]
        bands_out = _kernel(found, f"model.{17 + depth}.weight", source)[0]
        expected = f"a ResNet generator of {depth} blocks"
    elif "model.0.weight" in found:
        kind, bands_out = "discriminator", 1
        depth = max(sum(name.endswith(".weight") for name in found) - 2, 1)
        width, bands_in = _kernel(found, "model.0.weight", source)[:2]
        expected = f"a PatchGAN discriminator of {depth} layers"
    else:
        seen = ", ".join(_shown(name) for name in list(found)[:3]) or "nothing"
        raise CheckpointError(
            f"{source} holds neither a ResNet generator nor a PatchGAN discriminator of the "
            f"authors' code: it has {seen}"
        )
    tensors = _tensors(kind, (bands_in, bands_out), width, depth, dropout=dropout)
    arrays = _to_ours(found, tensors, f"{source} is not {expected} as the authors' code has it")
    return OriginalNetwork(kind, source, bands_in, bands_out, width, depth, arrays)


def join(networks: Mapping[str, OriginalNetwork]) -> tuple[dict[str, int], Arrays]:
    """The recipe's values that the shapes tell, and all tensors, of `networks` by our names.

    Raises:
        CheckpointError: no generator, or networks that are not of one model: other widths or
            depths, or another number of bands for one domain.
    """
    if not any(network.kind == "generator" for network in networks.values()):
        raise CheckpointError("no generator among the files: give that of G_A, of G_B, or both")
    told: dict[str, tuple[int, str]] = {}
    for name, network in networks.items():
        kind, _, domains = name.partition("_")
        keys = (*_SIZES[kind], *(f"bands_{domain}" for domain in domains))
        values = (network.width, network.depth, network.bands_in, network.bands_out)
        for key, value in zip(keys, values, strict=False):
            other, source = told.setdefault(key, (value, network.source))
            if other != value:
                raise CheckpointError(
                    f"{key} is {other} in {source} and {value} in {network.source}: they are not "
                    "of one model"
                )
    arrays = {
        f"{name}.{key}": array
        for name, network in networks.items()
        for key, array in network.arrays.items()
    }
    return {key: value for key, (value, _) in told.items()}, arrays


def to_original(arrays: Mapping[str, np.ndarray], recipe: Recipe) -> dict[str, Arrays]:
    """A `state_dict` in float32 for each network that `arrays` hold, by their names (`G_A`, ...).

    Raises:
        ConfigError: their code has no such networks.
        CheckpointError: a tensor is missing or its shape is not the recipe's.
    """
    if recipe.start != "noise":
        raise ConfigError(
            f"the generators of this model add to their input (--start {recipe.start}), and those "
            "of the original code do not: train with --start noise to export"
        )
    if recipe.norm != "instance":
        raise ConfigError(
            "the generators of this model have no norm (--norm none), and those of the original "
            "code have other biases and activations then: train with --norm instance to export"
        )
    judges = any(name.startswith("discriminator_") for name in arrays)
    if judges and recipe.discriminator_norm != "instance":
        raise ConfigError(
            "the discriminators of this run have no norm (--discriminator-norm none), and those of "
            "the original code have no biases then: give its model.safetensors to export the "
            "generators alone"
        )
    if recipe.upsample != "transposed":
        raise ConfigError(
            f"this model upsamples by {recipe.upsample} convolutions, and generators of the "
            "original code only by transposed ones: train with --upsample transposed to export"
        )
    bands = {str(domain): facts.bands for domain, facts in recipe.domains.items()}
    files: dict[str, Arrays] = {}
    for theirs, ours in _OURS.items():
        if not any(name.startswith(f"{ours}.") for name in arrays):
            continue
        kind, _, domains = ours.partition("_")
        width, depth = (getattr(recipe, name) for name in _SIZES[kind])
        files[theirs] = {}
        for name, (our, shape) in _tensors(kind, [bands[d] for d in domains], width, depth).items():
            if our is None:
                files[theirs][name] = np.zeros(shape, np.float32)
                continue
            if fault := _fault(arrays, f"{ours}.{our}", shape):
                raise CheckpointError(f"the weights do not fit the recipe: {fault}")
            files[theirs][name] = arrays[f"{ours}.{our}"].astype(np.float32)
    return files


def _tensors(
    kind: str, bands: Sequence[int], width: int, depth: int, *, dropout: bool = False
) -> Tensors:
    if kind == "generator":
        second = 6 if dropout else 5  # place of a block's second convolution: after the dropout
        places = ["1", "4", "7"]
        places += [f"{10 + k}.conv_block.{place}" for k in range(depth) for place in (1, second)]
        places += [str(10 + depth + k) for k in (0, 3, 7)]
        layers = generator_layers(*bands, width=width, blocks=depth, upsample="transposed")
    else:
        places = [str(k) for k in (0, *range(2, 3 * depth + 3, 3))]
        layers = discriminator_layers(bands[0], width=width, layers=depth)
    tensors: dict[str, tuple[str | None, tuple[int, ...]]] = {}
    for place, layer in zip(places, layers, strict=True):
        bias = f"{layer.name}.bias" if layer.bias else None
        tensors[f"model.{place}.weight"] = f"{layer.name}.weight", layer.shape
        tensors[f"model.{place}.bias"] = bias, (layer.channels_out,)
    return tensors


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


def _to_ours(found: Arrays, tensors: Tensors, problem: str) -> Arrays:
    """The tensors under our names, if there are no others, their shapes fit and all are finite."""
    missing = [name for name in tensors if name not in found]
    unexpected = [name for name in found if name not in tensors]
    if not unexpected and missing == [name for name, (ours, _) in tensors.items() if ours is None]:
        raise CheckpointError(
            f"{problem}: it has no biases in front of its norms, as with --norm none, and only "
            "instance norm is read"
        )
    if unexpected:
        raise CheckpointError(f"{problem}: {_shown(unexpected[0])} is unexpected")
    arrays: Arrays = {}
    for name, (ours, shape) in tensors.items():
        if fault := _fault(found, name, shape):
            raise CheckpointError(f"{problem}: {fault}")
        if ours is None:
            continue
        if found[name].dtype.kind != "f" or not np.isfinite(found[name]).all():
            raise CheckpointError(
                f"{problem}: {name} holds NaN, infinity or no floating-point numbers"
            )
        arrays[ours] = found[name].astype(np.float32)
    return arrays


def _fault(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]) -> str:
    """The problem with one tensor; empty where there is none."""
    if name not in arrays:
        return f"{name} is missing"
    found = arrays[name].shape
    return "" if found == shape else f"{name} has shape {found}, expected {shape}"


def _kernel(tensors: Arrays, name: str, source: str) -> tuple[int, ...]:
    """The shape of a kernel that tells bands and width."""
    shape = tensors[name].shape if name in tensors else ()
    if len(shape) != 4 or 0 in shape:
        found = f"has shape {shape}" if name in tensors else "is missing"
        raise CheckpointError(
            f"{source} is not a network of the authors' code: {name} {found}, a kernel is needed"
        )
    return shape


def _shown(name: str) -> str:
    """A name from an untrusted file, fit for a line of text."""
    return ascii(name[:80])
