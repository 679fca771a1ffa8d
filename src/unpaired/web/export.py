"""Writes the folder of a page without a server: `unpaired export --format web`."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unpaired import checkpoint
from unpaired.checkpoint import Header
from unpaired.config import DomainFacts
from unpaired.console import log
from unpaired.data.source import Source
from unpaired.directions import DIRECTIONS, Direction, source_of, target_of
from unpaired.errors import CheckpointError, ConfigError
from unpaired.hub.download import HubAddress, is_hub, local_model
from unpaired.images.scaling import Scaling
from unpaired.storage import atomic_path
from unpaired.web.runtime import VERSION, fetch_runtime, read_runtime
from unpaired.weights.onnx import Exported, export_onnx

__all__ = ["WebPage", "export_web"]

_PAGE = Path(__file__).parents[1] / "serving" / "page"
_OWN = Path(__file__).parent / "files"
_SCRIPT = '<script src="page.js" defer></script>'
_HEAD = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'\">\n"
    '<script src="here.js" defer></script>\n'
)
_CONSTANTS = 'const VERSION = "", FILES = [];'
_NOTICE = (
    f"ort*: onnxruntime-web {VERSION}, Copyright (c) Microsoft Corporation, MIT License,\n"
    "https://github.com/microsoft/onnxruntime\n"
    f"The other files: unpaired {version('unpaired')}, Apache License 2.0. model-*.onnx: yours.\n"
)
# A browser gives WebAssembly 4 GB at most. A pixel of the widest layers has `width` floats, and
# about six of these are alive at once.
_BYTES, _ALIVE = 1.5e9, 6


@dataclass(frozen=True)
class WebPage:
    """A page that was written: its folder, its size in bytes, and how exact its networks are."""

    folder: Path
    bytes: int
    networks: tuple[Exported, ...]


def export_web(
    model: str | Path,
    out: str | Path,
    *,
    runtime_files: Path | None = None,
    sample: bool = False,
    images: Source | None = None,
    threads: int = 0,
    overwrite: bool = False,
) -> WebPage:
    """Writes a folder for any static host, whose page translates in the visitor's browser.

    It holds the page of `unpaired serve`, the model as verified ONNX files (see `export_onnx`),
    and onnxruntime-web. It asks for nothing outside the folder and works offline once loaded.

    Args:
        model: a run folder, a model file, or `hf://owner/name`.
        runtime_files: a folder with the files of onnxruntime-web; None fetches them once.
        sample: add the latest image of the progress of a run, which shows images of its data.
        images, threads, overwrite: as for `export_onnx`.

    Raises:
        ConfigError: a model that browsers have no images for, or the folder has a page already and
            `overwrite` is false.
        CheckpointError, MissingExtra: as for `export_onnx` and `local_model`.
        DataError: the files of onnxruntime-web cannot be had, or are others.
        RunError: the system refuses to read or write.
    """
    given, out = model, Path(out)
    if (out / "index.html").exists() and not overwrite:
        raise ConfigError(
            f"{out / 'index.html'} exists: choose another --out, or replace it by --overwrite"
        )
    address, model = HubAddress.parse(given) if is_hub(given) else None, local_model(given)
    header, _ = checkpoint.read(model / "model.safetensors" if model.is_dir() else model)
    for facts in header.config.recipe.domains.values():
        _require_shown(facts)
    runtime = fetch_runtime() if runtime_files is None else read_runtime(runtime_files)
    networks = tuple(export_onnx(model, out, images=images, threads=threads, overwrite=overwrite))
    directions = [d for d in DIRECTIONS if (out / f"model-{d}.onnx").exists()]
    files = {path.name: path.read_bytes() for path in (*_PAGE.iterdir(), *_OWN.iterdir())}
    files |= runtime | {"NOTICE.txt": _NOTICE.encode()}
    samples = _sample(model, address or given) if sample else {}
    name = address.name if address else _name(model.resolve())
    told = _facts(header, name, directions, list(samples))
    files |= samples | {"model.json": json.dumps(told, indent=1).encode()}
    html = files.pop("index.html").decode()
    if html.count(_SCRIPT) != 1:
        raise CheckpointError("this installation is damaged: its page has no script")
    files["index.html"] = html.replace(_SCRIPT, _HEAD + _SCRIPT).encode()
    weights = {path.name: path.read_bytes() for path in (each.path for each in networks)}
    files["offline.js"] = _offline(files | weights)
    for name, content in files.items():  # the page itself is among the last
        with atomic_path(out / name) as temporary:
            temporary.write_bytes(content)
    total = sum(map(len, (files | weights).values()))
    return WebPage(out, total, networks)


def _require_shown(facts: DomainFacts) -> None:
    """Requires images that browsers can read and show.

    Raises:
        ConfigError: others.
    """
    if facts.bands in (1, 3) and facts.samples == "uint8" and not Scaling.of(facts).ends:
        return
    raise ConfigError(
        f"{facts.name} has {facts.bands} bands of {facts.samples}: browsers read and show grey and "
        "RGB images of 8 bits only; `unpaired serve` translates the others"
    )


def _facts(
    header: Header, name: str, directions: list[Direction], samples: list[str]
) -> dict[str, Any]:
    """What the page asks a server for with GET /v1/models."""
    recipe = header.config.recipe
    domains = recipe.domains
    return {
        "models": [
            {
                "name": name,
                "domains": {
                    key: {"name": facts.name, "bands": facts.bands, "samples": facts.samples}
                    for key, facts in domains.items()
                },
                "directions": [
                    {"id": d, "from": domains[source_of(d)].name, "to": domains[target_of(d)].name}
                    for d in directions
                ],
                "size": recipe.image_size,
                "step": header.step,
                "samples": samples,
            }
        ],
        "formats": {"input": ["PNG", "JPEG", "WebP", "AVIF", "GIF", "BMP"], "output": ["png"]},
        "limits": {},
        "most_pixels": int(_BYTES / (4 * _ALIVE * recipe.width)),
        "metadata": (
            "Images are translated in this browser and are sent nowhere. Results are PNG files "
            "without metadata."
        ),
        "version": version("unpaired"),
        "token": False,
    }


def _name(model: Path) -> str:
    """A run by its folder, as is the file in it; another file by its own name."""
    if model.is_file():
        return model.parent.name if model.name == "model.safetensors" else model.stem
    return model.name


def _sample(model: Path, given: object) -> dict[str, bytes]:
    """The latest image of the progress of a run; none beside a model alone."""
    found = sorted((model / "samples").glob("*.png")) if model.is_dir() else []
    if not found:
        log.warning(f"{given} has no samples: the page shows none")
        return {}
    return {"sample.png": found[-1].read_bytes()}


def _offline(files: dict[str, bytes]) -> bytes:
    """The service worker that keeps `files`; another content gives it another version."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(content).digest())
    kept = sorted({"./", *files} - {"index.html", "offline.js", "NOTICE.txt"})
    script = files["offline.js"].decode()
    if script.count(_CONSTANTS) != 1:
        raise CheckpointError("this installation is damaged: its offline.js has no constants")
    made = f'const VERSION = "{digest.hexdigest()[:16]}", FILES = {json.dumps(kept)};'
    return script.replace(_CONSTANTS, made).encode()
