"""The demo: landscapes are drawn, their translation is learnt, scored against the truth and shown.

Everything is made on this machine. What was found lies in the run folder's `report/`.
"""

import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from unpaired.checkpoint import read_header
from unpaired.console import Meter, duration
from unpaired.data.catalogue import obtain
from unpaired.data.domains import Folder, find_data
from unpaired.directions import DIRECTIONS, Direction
from unpaired.errors import DataError
from unpaired.evaluation.baselines import BASELINES, Baseline, identity, score_baselines
from unpaired.images.image import Image, read_image
from unpaired.metrics.metric import Metric, Value
from unpaired.metrics.paired import TruthScores, psnr, score_against_truth
from unpaired.report.files import as_text, write_report
from unpaired.report.report import Example, Method, MethodKind, Report
from unpaired.seasons.dataset import CLASSES, palette, read_truth
from unpaired.training.loop import Run, train
from unpaired.translation.model import Model, load

__all__ = ["demo"]

Images8 = NDArray[np.uint8]
Journal = Sequence[Mapping[str, float]]

DATA = "seasons-lite"
FIGURES = (
    Metric("psnr", "PSNR", "peak signal-to-noise ratio in dB, mean over the images",
           "paired", "higher", 2, 30, "dB", noise=2.0),
    Metric("ssim", "SSIM", "structural similarity in windows of 7 × 7, mean over the images",
           "paired", "higher", 3, 1),
    Metric("acc16", "acc16", "share of pixels with every channel within 16 levels of the truth",
           "paired", "higher", 3, 1),
    Metric("macro16", "macro16", "mean over classes of acc16 on the pixels of one class only",
           "paired", "higher", 3, 1),
)  # fmt: skip
RANDOM, WORST = 6, 4  # examples of each direction on the page
EXAMPLES_SEED = 1  # of the random ones


def demo(
    out: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    runtime: Mapping[str, object] | None = None,
) -> Path:
    """Trains preset `tiny` on `seasons-lite` in the run folder `out` and scores it by the truth.

    A training that was interrupted goes on; one that is finished is scored again. Writes
    `out/report/report.json`, `pictures.png` and, last of all, `index.html`.

    Args:
        out: the run folder.
        seed: seed of the training.
        steps: training steps, if not the preset's.
        runtime: values of the runtime by name (see Runtime).

    Returns:
        The page, `out/report/index.html`.

    Raises:
        ConfigError, DataError, RunError, CheckpointError, MissingExtra: refused; nothing was lost.
        Interrupted: by a signal; the state is saved and the same call goes on.
    """
    began = time.monotonic()
    folder = _obtain()
    recipe = {"seed": seed} if steps is None else {"seed": seed, "steps": steps}
    how = {"report": "none", **(runtime or {})}  # there is a better one: the truth is known
    run = train(folder, out=out, preset="tiny", recipe=recipe, runtime=how)
    model = load(out, device=run.config.runtime.device, threads=run.config.runtime.threads)

    pairs = _read_pairs(folder)
    made = {direction: _translate(model, pairs, direction) for direction in DIRECTIONS}
    report = _report(run, pairs, made)
    page = write_report(report, out / "report")

    print(as_text(report))
    print(f"\n{page} ({duration(time.monotonic() - began)} in all)")
    return page


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The held-out pairs, and the training images that baselines may know, by domain."""

    names: Sequence[str]
    test: Mapping[str, Images8]
    train: Mapping[str, Images8]
    classes: Images8
    pure: NDArray[np.bool_]


def _obtain() -> Path:
    """The data set, made where it is not here yet."""
    with Meter(f"making {DATA}, scenes", unit="scenes") as meter:
        return obtain(DATA, progress=meter.show)


def _read_pairs(folder: Path) -> _Pairs:
    data = find_data(folder)
    if data.test_a is None or data.test_b is None or data.test_a.names != data.test_b.names:
        raise DataError(f"{folder} is damaged: remove it, and it is made again")
    truth = [read_truth(folder / "truth" / name) for name in data.test_a.names]
    return _Pairs(
        names=[Path(name).stem for name in data.test_a.names],
        test={"a": _read(data.test_a), "b": _read(data.test_b)},
        train={"a": _read(data.train_a), "b": _read(data.train_b)},
        classes=np.stack([classes for classes, _ in truth]),
        pure=np.stack([pure for _, pure in truth]),
    )


def _read(folder: Folder) -> Images8:
    return np.stack([read_image(folder.path(index)).pixels for index in range(len(folder))])


def _translate(model: Model, pairs: _Pairs, direction: Direction) -> Images8:
    images = [Image(pixels) for pixels in pairs.test[direction[0]]]
    return np.stack([image.pixels for image in model.translate_many(images, direction)])


def _report(run: Run, pairs: _Pairs, made: Mapping[Direction, Images8]) -> Report:
    recipe = run.config.recipe
    own: dict[Direction, TruthScores] = {}
    baselines: dict[Direction, dict[str, TruthScores]] = {}
    for direction in DIRECTIONS:
        source, target = direction
        truth = pairs.test[target]
        own[direction] = score_against_truth(made[direction], truth, pairs.classes, pairs.pure)
        baselines[direction] = score_baselines(
            pairs.test[source], truth, pairs.classes, pairs.pure, pairs.train[target]
        )
    journal = _journal(run.folder)
    return Report(
        title=f"unpaired demo: {recipe.name_a} and {recipe.name_b}",
        summary=(
            f"A CycleGAN saw images of {recipe.name_a} and of {recipe.name_b}, never a pair "
            f"({DATA}, preset {recipe.preset}, {run.step:,} steps). Here it translates "
            f"{len(pairs.names)} held-out scenes whose truth is known."
        ),
        names=(recipe.name_a, recipe.name_b),
        figures=FIGURES,
        methods=[
            _method("the model", "model", own),
            *(_baseline(b, {d: baselines[d][b.name] for d in DIRECTIONS}) for b in BASELINES),
        ],
        examples={
            direction: _examples(pairs, made[direction], direction) for direction in DIRECTIONS
        },
        journal=journal,
        facts=_facts(run, pairs, journal),
        config=run.config.to_toml(),
        swatches={
            name: (a, b)
            for name, a, b in zip(
                CLASSES, palette("a").tolist(), palette("b").tolist(), strict=True
            )
        },
        record={
            "data": DATA,
            "data_fingerprint": recipe.data_fingerprint,
            "preset": recipe.preset,
            "steps": run.step,
            "seed": recipe.seed,
        },
    )


def _baseline(baseline: Baseline, scores: Mapping[Direction, TruthScores]) -> Method:
    if baseline.uses_pairs:
        return _method(baseline.name, "oracle", scores, "uses pairs, 32 levels a band")
    kind: MethodKind = "untouched" if baseline.translate is identity else "baseline"
    return _method(baseline.name, kind, scores)


def _method(
    name: str, kind: MethodKind, scores: Mapping[Direction, TruthScores], note: str = ""
) -> Method:
    values = {
        direction: {figure.key: Value(getattr(of_one, figure.key)) for figure in FIGURES}
        for direction, of_one in scores.items()
    }
    per_class = {direction: of_one.per_class for direction, of_one in scores.items()}
    return Method(name, kind, values, note, per_class)


def _examples(pairs: _Pairs, made: Images8, direction: Direction) -> dict[str, list[Example]]:
    source, target = direction
    scores = psnr(made, pairs.test[target])
    random = np.random.default_rng(EXAMPLES_SEED).permutation(len(scores))[:RANDOM]
    worst = np.argsort(scores, kind="stable")[:WORST]
    return {
        choice: [
            Example(
                name=f"scene {pairs.names[index]}",
                source=pairs.test[source][index],
                made=made[index],
                truth=pairs.test[target][index],
                caption=f"{scores[index]:.2f} dB",
            )
            for index in indices
        ]
        for choice, indices in {"at random": np.sort(random), "the worst": worst}.items()
    }


def _journal(folder: Path) -> Journal:
    """The lines of metrics.jsonl; none where somebody removed it."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def _training_seconds(journal: Journal) -> float:
    """Time of the training by the journal, whose clock begins anew when a run is resumed."""
    clock = [line["seconds"] for line in journal if "seconds" in line]
    ends = [now for now, then in pairwise(clock) if then < now]
    return sum(ends) + (clock[-1] if clock else 0)


def _facts(run: Run, pairs: _Pairs, journal: Journal) -> dict[str, str]:
    recipe = run.config.recipe
    header = read_header(run.folder / "model.safetensors")
    height, width = pairs.classes.shape[1:]
    of_a, of_b = (f"{len(pairs.train[d])} images of {name}" for d, name in _domains(run))
    steps = f"{header.step:,} steps of {recipe.batch_size} + {recipe.batch_size} images"
    took = duration(_training_seconds(journal))
    weights = {"ema": f"running mean, decay {recipe.ema:g}", "last": "of the last step"}
    return {
        "data": f"{DATA}: {of_a} and {of_b} to train on, {width} × {height}, no scene in both",
        "test": f"n = {len(pairs.names)} held-out scenes, each painted in both domains",
        "training": f"preset {recipe.preset}, {steps}, seed {recipe.seed}, {took}",
        "weights": weights[header.weights],
        "baselines": (
            "the unpaired ones know all training images of the target domain; the colour table "
            "is fitted on the test pairs themselves and shows how far colours alone can come"
        ),
        "examples": f"at random: drawn with seed {EXAMPLES_SEED}; the worst: of the lowest PSNR",
        "machine": header.made_on,
        "software": (
            f"unpaired {_own_version()}, Python {platform.python_version()}, "
            f"numpy {np.__version__}, pillow {PIL.__version__}"
        ),
        "data fingerprint": recipe.data_fingerprint,
    }


def _domains(run: Run) -> list[tuple[str, str]]:
    return [("a", run.config.recipe.name_a), ("b", run.config.recipe.name_b)]


def _own_version() -> str:
    try:
        return version("unpaired")
    except PackageNotFoundError:
        return "(not installed)"
