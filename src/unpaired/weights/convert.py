"""Models from and to files of the original PyTorch code: `unpaired import`, `unpaired export`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from unpaired import checkpoint
from unpaired.checkpoint import Header
from unpaired.config import Config, Recipe, Runtime
from unpaired.console import log
from unpaired.directions import Direction
from unpaired.engines.architecture import smallest_crop
from unpaired.errors import CheckpointError, ConfigError, MissingExtra
from unpaired.hub.download import local_model
from unpaired.presets import preset
from unpaired.storage import atomic_path
from unpaired.weights import original
from unpaired.weights.original import OriginalNetwork

__all__ = ["export_original", "import_original"]


def import_original(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    direction: Direction | None = None,
    name_a: str = "a",
    name_b: str = "b",
    overwrite: bool = False,
) -> dict[str, OriginalNetwork]:
    """Writes the model file `out` from `.pth` files of the original code, one a network.

    The network that a file holds is told by G_A, G_B, D_A or D_B in its name; a generator without
    any of them has the direction `direction`, "ab" by default. Everything else is read from the
    shapes. Returns the networks found, by our names.

    Raises:
        CheckpointError: a file holds another architecture or more than tensors, or the files are
            not of one model.
        ConfigError: impossible names or flags, or `out` exists and `overwrite` is false.
        MissingExtra: PyTorch is not installed.
        RunError: the system refuses to read or write.
    """
    out, names = Path(out), {"name_a": name_a, "name_b": name_b}
    preset("paper", names)  # rejected before any work
    _require_free([out], overwrite)
    networks: dict[str, OriginalNetwork] = {}
    for path in map(Path, files):
        if path.is_dir():
            raise CheckpointError(
                f"{path} is a folder: give its files, such as {path / 'latest_net_*.pth'}"
            )
        if not path.exists():
            raise CheckpointError(f"{path} does not exist: give .pth files of the original code")
        if out.exists() and os.path.samefile(path, out):
            raise ConfigError(f"--out {out} is one of the files to import: choose another name")
        network = original.recognise(_torch_pth("reading .pth files").read(path), path.name)
        name = _our_name(path, network, direction, name_a, name_b)
        if name in networks:
            raise CheckpointError(
                f"{networks[name].source} and {path.name} are both {name}: give one file a network"
            )
        networks[name] = network
    told, arrays = original.join(networks)
    # Nothing is known of a training. A crop must hold a patch of the discriminator in any case.
    values = {"depth_a": 8, "depth_b": 8, "steps": 0} | told | names
    layers = told.get("discriminator_layers", 3)
    if smallest_crop(layers) > 256:
        values["image_size"] = smallest_crop(layers)
    made_on = f"imported from {', '.join(network.source for network in networks.values())}"
    header = Header("model", Config(preset("paper", values), Runtime()), 0, made_on=made_on)
    checkpoint.write(out, header, arrays)
    return networks


def export_original(model: str | Path, out: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Writes `latest_net_G_A.pth` and so on into the folder `out`, as the original code reads them.

    `model` is a run folder, its `model.safetensors` or a checkpoint. The generators have the
    weights that `translate` uses. Discriminators are written if there are any; those of a run are
    in its checkpoint of the same step. Returns the files.

    Raises:
        ConfigError: the original code has no such networks, or a file exists and `overwrite` is
            false.
        CheckpointError: missing, damaged or foreign.
        MissingExtra: PyTorch is not installed.
        RunError: the system refuses to read or write.
    """
    model, out = Path(model), Path(out)
    recipe, arrays = _weights(model)
    states = original.to_original(arrays, recipe)
    if not any(name.startswith("G_") for name in states):
        raise CheckpointError(f"{model} holds no generator: give a run folder or its model")
    targets = {out / f"latest_net_{name}.pth": state for name, state in states.items()}
    _require_free(list(targets), overwrite)
    dump = _torch_pth("writing .pth files").dump
    for path, content in [(path, dump(state)) for path, state in targets.items()]:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    log.info(_options(recipe, any(name.startswith("D_") for name in states)))
    return list(targets)


def _torch_pth(purpose: str) -> ModuleType:
    try:
        from unpaired.weights import torch_pth
    except ModuleNotFoundError as error:
        raise MissingExtra.of(error, "torch", purpose) from error
    return torch_pth


def _our_name(
    path: Path, network: OriginalNetwork, direction: Direction | None, name_a: str, name_b: str
) -> str:
    """Our name of a file's network, by the name of the file, else by the direction asked for."""
    name = original.our_name(path.stem)
    if name is None and network.kind == "discriminator":
        raise CheckpointError(
            f"{path.name} holds a discriminator, and its name has neither D_A nor D_B: their "
            "D_A judges B, their D_B judges A; rename it"
        )
    if name is None:
        if direction is None:
            log.warning(
                f"{path.name} has neither G_A nor G_B in its name: taken as {name_a} to {name_b}; "
                "--direction ba is the other direction"
            )
        return f"generator_{direction or 'ab'}"
    if network.kind == "generator" and direction is not None:
        raise ConfigError(
            f"--direction is for a generator whose file has no G_A or G_B in its name, and "
            f"{path.name} has: omit it, or swap --name-a and --name-b"
        )
    if not name.startswith(network.kind):
        raise CheckpointError(f"{path} holds a {network.kind}, and its name says otherwise")
    return name


def _weights(model: Path) -> tuple[Recipe, Mapping[str, np.ndarray]]:
    """The recipe of a model, and its tensors to export."""
    model = local_model(model)
    is_run = os.path.isdir(model)
    header, arrays = checkpoint.read(model / "model.safetensors" if is_run else model)
    generators, weights = checkpoint.generators(header, arrays)
    kinds = {"ema": "the average (EMA) of the generators", "last": "the last weights"}
    log.info(f"{kinds[weights]} at step {header.step}, as `unpaired translate` uses them")
    if is_run:
        try:
            arrays = checkpoint.read(checkpoint.checkpoint_path(model, header.step))[1]
        except CheckpointError as error:
            log.warning(f"no discriminators, which are in the checkpoint of this step: {error}")
    discriminators = {name: a for name, a in arrays.items() if name.startswith("discriminator_")}
    return header.config.recipe, generators | discriminators


def _options(recipe: Recipe, discriminators: bool) -> str:
    """The options that the original code needs for these networks."""
    told = (
        f"their options: --input_nc {recipe.bands_a} --output_nc {recipe.bands_b} "
        f"--ngf {recipe.width} --norm instance --no_dropout"
    )
    if discriminators:
        layers, width = recipe.discriminator_layers, recipe.discriminator_width
        told += f" --netD n_layers --n_layers_D {layers} --ndf {width}"
    if recipe.blocks in (6, 9):
        return f"{told} --netG resnet_{recipe.blocks}blocks"
    return (
        f"{told}; their --netG has 6 or 9 blocks and this model has {recipe.blocks}: it needs "
        f"ResnetGenerator(..., n_blocks={recipe.blocks}) in their code"
    )


def _require_free(targets: Sequence[Path], overwrite: bool) -> None:
    for path in targets:
        if path.is_dir():
            raise ConfigError(f"--out {path} is a folder: name a file in it")
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists: choose another --out, or replace it by --overwrite")
