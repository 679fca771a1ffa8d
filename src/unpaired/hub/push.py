"""`unpaired push`: a model and its card to a hub, and nothing else."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.console import log
from unpaired.directions import DIRECTIONS
from unpaired.errors import CheckpointError, ConfigError, RunError, quoted, reason_of, shown
from unpaired.hub.card import RunFacts, model_card
from unpaired.hub.download import FILE, HubAddress, endpoint, hub_errors, is_hub
from unpaired.storage import write_text

__all__ = ["Pushed", "push"]

SAMPLES = "samples.png"
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")


@dataclass(frozen=True)
class Pushed:
    """What `push` wrote: the pinned address and the names of the files."""

    address: HubAddress
    files: tuple[str, ...]


def push(
    model: str | Path,
    to: str,
    *,
    licence: str,
    samples: bool = False,
    private: bool = False,
    out: str | Path | None = None,
) -> Pushed:
    """Pushes a model with its card to `owner/name` on the hub, as one commit.

    Args:
        model: a run folder, its `model.safetensors` or `best.safetensors`, or a checkpoint, of
            which the generators are pushed. The card is written from the run folder around it.
        to: owner and name, such as "ann/seasons", or "hf://ann/seasons".
        licence: of the weights, an identifier of the hub such as "cc-by-4.0".
        samples: push the run's newest sample grid too, which shows images of the data: only if
            their licence allows it.
        private: create the repository as a private one, if it is new.
        out: write the files into this folder instead, to look at them; no network is used.

    Raises:
        CheckpointError: no model, or the repository is not available.
        ConfigError: an impossible name or licence, or samples are asked for and there are none.
        MissingExtra: huggingface_hub is not installed.
        RunError: the server cannot be reached or rejects it, or a file cannot be read or written.
    """
    address = HubAddress.parse(to if is_hub(to) else f"hf://{to}")
    if address.revision:
        raise ConfigError(f"{address}: a push makes a revision of its own: give owner/name alone")
    if not _LICENCE.fullmatch(licence):
        raise ConfigError(
            f"--licence is {quoted(licence)}: give the identifier of a licence, such as cc-by-4.0, "
            "apache-2.0 or other"
        )
    if out is not None and Path(out).exists() and any(Path(out).iterdir()):
        raise ConfigError(f"--out {shown(out)} is not empty: give a new folder")
    path = Path(model)
    file = path / FILE if path.is_dir() else path
    try:
        header, arrays = checkpoint.read(file)
    except OSError as error:
        raise RunError(f"cannot read {shown(file)}: {reason_of(error)}") from error
    weights, kind = checkpoint.generators(header, arrays)
    found = tuple(d for d in DIRECTIONS if any(n.startswith(f"generator_{d}.") for n in weights))
    if not found:
        raise CheckpointError(f"{shown(file)} holds no generator: give a run folder or its model")
    if header.kind == "model":  # an imported one has discriminators, too
        weights |= {name: a for name, a in arrays.items() if name.startswith("discriminator_")}
    # The runtime is of whoever trained, with paths of their machine: only the engine stays.
    runtime = Runtime(engine=header.config.runtime.engine)
    header = replace(
        header, kind="model", weights=kind, pending={}, config=Config(header.config.recipe, runtime)
    )
    run = file.parent.parent if file.parent.name == "checkpoints" else file.parent
    grid = _newest_samples(run) if samples else None
    if samples and grid is None:
        raise ConfigError(f"--samples: {shown(run)} has no samples: omit it")
    card = model_card(
        header,
        found,
        RunFacts.read(run),
        repository=address.repository,
        licence=licence,
        samples=SAMPLES if grid else "",
    )
    with TemporaryDirectory(prefix="unpaired-push-") as scratch:
        folder = Path(out) if out is not None else Path(scratch)
        checkpoint.write(folder / FILE, header, weights)
        write_text(folder / "README.md", card)
        files = [FILE, "README.md"]
        if grid is not None:
            (folder / SAMPLES).write_bytes(grid.read_bytes())
            files.append(SAMPLES)
        if out is None:
            address = _commit(address, folder, files, header.step, private)
    return Pushed(address, tuple(files))


def _commit(
    address: HubAddress, folder: Path, files: list[str], step: int, private: bool
) -> HubAddress:
    """Creates the repository if it is new, commits the files, and returns the pinned address."""
    log.info(f"pushing {', '.join(files)} to {endpoint()}/{address.repository}")
    with hub_errors(address):
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()
        api = HfApi(endpoint=endpoint(), library_name="unpaired")
        api.create_repo(address.repository, private=private or None, exist_ok=True)
        done = api.create_commit(
            address.repository,
            [CommitOperationAdd(name, str(folder / name)) for name in files],
            commit_message=f"Model after {step:,} steps, pushed by unpaired",
        )
    return replace(address, revision=done.oid)


def _newest_samples(run: Path) -> Path | None:
    return max((run / "samples").glob("step-*.png"), default=None)
