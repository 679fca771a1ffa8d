"""Models from and to files of the original PyTorch code: `unpaired import`, `unpaired export`."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from unpaired import checkpoint
from unpaired.checkpoint import Header
from unpaired.config import Config, Recipe, Runtime
from unpaired.directions import Direction
from unpaired.engines.choice import dump_pth, read_pth
from unpaired.errors import CheckpointError, ConfigError, RunError
from unpaired.images.header import reason_of
from unpaired.presets import preset
from unpaired.storage import atomic_path
from unpaired.weights import original

__all__ = ["export_original", "import_original"]

Say = Callable[[str], None]


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def import_original(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    direction: Direction | None = None,
    name_a: str = "a",
    name_b: str = "b",
    overwrite: bool = False,
    say: Say = _tell,
) -> dict[str, original.Network]:
    """Writes the model file `out` from `.pth` files of the original code, one a network.

    Which network a file holds is told by G_A, G_B, D_A or D_B in its name; a generator with none of
    them goes in `direction`, "ab" where that is not given. What else there is to know is read off
    the shapes. Returns what was found, by our names of the networks.

    Raises:
        CheckpointError: a file holds another architecture or more than tensors, or the files are
            not of one model.
        ConfigError: names or flags that cannot be, or `out` exists and `overwrite` is false.
        MissingExtra: PyTorch is not installed.
        RunError: the system refuses to read or write.
    """
    out, paths = Path(out), [Path(file) for file in files]
    names = {"name_a": name_a, "name_b": name_b}
    preset("paper", names)  # refused before any work
    _require_free([out], overwrite)
    networks: dict[str, original.Network] = {}
    for path in paths:
        _require_file(path, out)
        network = original.recognise(read_pth(path), path.name)
        name = original.our_name(path.stem)
        if name is None:
            name = _by_direction(network, direction, name_a, name_b, say)
        elif network.kind == "generator" and direction is not None:
            raise ConfigError(
                f"--direction is for a generator whose file has no G_A or G_B in its name, and "
                f"{path.name} has: leave it away, or swap --name-a and --name-b"
            )
        if not name.startswith(network.kind):
            raise CheckpointError(f"{path} holds a {network.kind}, and its name says otherwise")
        if name in networks:
            raise CheckpointError(
                f"{networks[name].source} and {path.name} are both {name}: give one file a network"
            )
        networks[name] = network
    told, arrays = original.join(networks)
    made_on = f"imported from {', '.join(network.source for network in networks.values())}"
    header = Header("model", Config(_recipe(told | names), Runtime()), 0, made_on=made_on)
    checkpoint.write(out, header, arrays)
    return networks


def export_original(
    model: str | Path, out: str | Path, *, overwrite: bool = False, say: Say = _tell
) -> list[Path]:
    """Writes `latest_net_G_A.pth` and so on into the folder `out`, as the original code reads them.

    `model` is a run folder, its `model.safetensors` or a checkpoint. The generators have the
    weights that `translate` uses. Discriminators are written where there are some; those of a run
    are in its checkpoint of the same step. Returns the files.

    Raises:
        ConfigError: the original code has no such networks, or a file exists and `overwrite` is
            false.
        CheckpointError: missing, damaged or foreign.
        MissingExtra: PyTorch is not installed.
        RunError: the system refuses to read or write.
    """
    model, out = Path(model), Path(out)
    header, arrays = _weights(model, say)
    recipe = header.config.recipe
    states = original.to_original(arrays, recipe)
    if not any(name.startswith("G_") for name in states):
        raise CheckpointError(f"{model} holds no generator: give a run folder or its model")
    targets = {out / f"latest_net_{name}.pth": state for name, state in states.items()}
    _require_free(list(targets), overwrite)
    contents = {path: dump_pth(state) for path, state in targets.items()}
    for path, content in contents.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    say(_options(recipe, any(name.startswith("D_") for name in states)))
    return list(targets)


def _by_direction(
    network: original.Network, direction: Direction | None, name_a: str, name_b: str, say: Say
) -> str:
    """Our name of a network whose file's name tells nothing."""
    if network.kind == "discriminator":
        raise CheckpointError(
            f"{network.source} holds a discriminator, and its name has neither D_A nor D_B: their "
            "D_A judges B, their D_B judges A; rename it"
        )
    if direction is None:
        say(
            f"{network.source} has neither G_A nor G_B in its name: taken as {name_a} to {name_b}; "
            "--direction ba is the other way"
        )
    return f"generator_{direction or 'ab'}"


def _recipe(told: Mapping[str, object]) -> Recipe:
    """The recipe of 2017 with what the files tell; of a training, nothing is known."""
    values = {"depth_a": 8, "depth_b": 8, "steps": 0, **told}
    layers = values.get("discriminator_layers", 3)
    # A crop has to hold a patch of the discriminator, whatever they trained on.
    side = max(256, 3 * 2**layers) if isinstance(layers, int) else 256
    return preset("paper", values if side == 256 else values | {"image_size": side})


def _weights(model: Path, say: Say) -> tuple[Header, dict[str, np.ndarray]]:
    """The tensors to export, and the header of the file of the generators."""
    try:
        folder = model if model.is_dir() else None
        header, arrays = checkpoint.read(model / "model.safetensors" if folder else model)
    except OSError as error:
        raise RunError(f"cannot read {model}: {reason_of(error)}") from error
    means = {name: array for name, array in arrays.items() if name.startswith("ema.generator_")}
    generators = {name.removeprefix("ema."): array for name, array in means.items()} or {
        name: array for name, array in arrays.items() if name.startswith("generator_")
    }
    averaged = bool(means) or header.weights == "ema"
    kind = "the running mean (EMA) of the generators" if averaged else "the last weights"
    say(f"{kind} at step {header.step}, as `unpaired translate` uses them")
    if folder is not None:
        path = checkpoint.checkpoint_path(folder, header.step)
        try:
            arrays = checkpoint.read(path)[1]
        except CheckpointError as error:
            say(f"no discriminators, which are in the checkpoint of this step: {error}")
    return header, generators | {
        name: array for name, array in arrays.items() if name.startswith("discriminator_")
    }


def _options(recipe: Recipe, discriminators: bool) -> str:
    """What the original code has to be told of these networks."""
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


def _require_file(path: Path, out: Path) -> None:
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder: give its files, such as {path / 'latest_net_*.pth'}"
        )
    if not path.exists():
        raise CheckpointError(f"{path} is not there: give .pth files of the original code")
    if out.exists() and os.path.samefile(path, out):
        raise ConfigError(f"--out {out} is one of the files to import: choose another name")


def _require_free(targets: Sequence[Path], overwrite: bool) -> None:
    for path in targets:
        if path.is_dir():
            raise ConfigError(f"--out {path} is a folder: name a file in it")
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists: choose another --out, or replace it by --overwrite")
