"""Writes the page of a study: pairs of a real and a generated image, a second each."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypedDict

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.console import counted, log
from unpaired.data.source import Source, find_source
from unpaired.directions import DOMAINS, Direction, source_of, target_of
from unpaired.errors import ConfigError, DataError
from unpaired.evaluation.measure import translate_set
from unpaired.evaluation.options import Options
from unpaired.evaluation.testset import TestSet, gather
from unpaired.images.formats import Reading
from unpaired.metrics.image_set import ImageSet, to_rgb
from unpaired.storage import write_text
from unpaired.streams import STUDY, stream
from unpaired.translation.model import Model, load

__all__ = ["FEWEST_TRIALS", "StudyPage", "different_scenes", "make_study"]

FEWEST_TRIALS = 10
_MOST_TRIALS = 1000


_Block = TypedDict(
    "_Block",
    {
        "direction": Direction,
        "from": str,
        "to": str,
        "practice": int,
        "generated": list[dict[str, str]],
        "real": list[dict[str, str]],
    },
)


@dataclass(frozen=True)
class StudyPage:
    """A page that was written, the id that its answers have, and its trials in each direction."""

    path: Path
    bytes: int
    study: str
    trials: dict[Direction, int]


def make_study(
    model: Model | str | Path,
    data: Source,
    out: str | Path,
    *,
    to: str | None = None,
    trials: int = 40,
    practice: int = 10,
    seed: int = 0,
    image_size: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    overwrite: bool = False,
) -> StudyPage:
    """Writes `index.html` into the folder `out`: one file, with all its images, for any browser.

    Each trial shows a real image of the target domain and a generated one, of different scenes, for
    a second each, one after the other, and asks which was real. The practice trials come first and
    say whether the answer was right. No image is shown twice to one person. Real images go
    through the same steps as the sources of the generated ones, and all are stored without loss.

    Args:
        data: its test images are shown.
        to: one direction alone, by its domain; None: each that the model has.
        trials, practice: in each direction; the paper had 40 and 10.
        seed: of the images, and with the id of a participant of their order.
        image_size: side in pixels; None: as trained.

    Raises:
        ConfigError: no such domain, impossible numbers, or the page exists and `overwrite` is
            false.
        DataError: too few test images, or unreadable ones.
        CheckpointError, MissingExtra, RunError: as `load`.
    """
    path = Path(out) / "index.html"
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists: choose another --out, or replace it by --overwrite")
    if not FEWEST_TRIALS <= trials <= _MOST_TRIALS or not 0 <= practice <= _MOST_TRIALS:
        raise ConfigError(
            f"--trials {trials} --practice {practice}: {FEWEST_TRIALS} to {_MOST_TRIALS} trials "
            f"and 0 to {_MOST_TRIALS} of practice are possible"
        )
    options = Options(seed=seed, image_size=image_size, max_pixels=max_pixels)
    model = model if isinstance(model, Model) else load(model)
    directions = model.directions if to is None else (model.direction(to),)
    tests = _tests(model, data, trials + practice, options)
    blocks = [_block(model, tests, d, trials, practice, seed) for d in directions]
    recipe = model.config.recipe
    told = {
        "seed": seed,
        "step": model.step,
        "model": hashlib.sha256(model.config.to_toml().encode()).hexdigest()[:16],
        "side": tests.test["a"].side,
        "blocks": blocks,
    }
    study = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    title = f"{recipe.name_a} and {recipe.name_b}"
    page = _page(title, {"study": study, **told})
    write_text(path, page)
    return StudyPage(
        path, len(page.encode()), study, {b["direction"]: len(b["real"]) - practice for b in blocks}
    )


def _tests(model: Model, source: Source, count: int, options: Options) -> TestSet:
    """The test images to show, in the order of the model's domains."""
    recipe = model.config.recipe
    data = find_source(source, need_train=False)
    if (data.name_a, data.name_b) == (recipe.name_b, recipe.name_a):
        data = data.swapped
    data = data.read_as(*(Reading.of(recipe, domain) for domain in DOMAINS))
    tests = gather(
        data,
        recipe,
        side=options.image_size or recipe.image_size,
        limit=count,
        seed=options.seed,
        max_pixels=options.max_pixels,
        paired=False,
    )
    if not tests.held_out:
        log.warning("there are no test images: the study shows images of the training")
    return tests


def _block(
    model: Model, tests: TestSet, direction: Direction, trials: int, practice: int, seed: int
) -> _Block:
    """All that the page needs of one direction; real[k] and generated[k] are shown together."""
    domains = model.config.recipe.domains
    source, target = domains[source_of(direction)].name, domains[target_of(direction)].name
    real = tests.reference(direction)
    count = min(len(real), len(tests.sources(direction)))
    if count < practice + FEWEST_TRIALS:
        raise DataError(
            f"{source} to {target}: {counted(count, 'test image')} for {practice} trials of "
            f"practice and {FEWEST_TRIALS} others at least: give more images, or --practice 0"
        )
    if count < practice + trials:
        log.warning(
            f"{source} to {target}: {counted(count, 'test image')}, so {count - practice} trials "
            f"of {trials} after {practice} of practice"
        )
    generated = translate_set(model, tests, direction)
    rng = stream(seed, STUDY, 0 if direction == "ab" else 1)
    first, second = rng.permutation(len(generated))[:count], rng.permutation(len(real))[:count]
    second = different_scenes(generated.names, real.names, first, second)
    return {
        "direction": direction,
        "from": source,
        "to": target,
        "practice": practice,
        "generated": _shown(generated, first),
        "real": _shown(real, second),
    }


def different_scenes(
    names: Sequence[str], others: Sequence[str], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """`second`, rotated so that as few as possible of `first` meet an image of their own name.

    Where names tell pairs, an image would else be shown beside the truth of its own scene.

    >>> names = ["1.png", "2.png", "3.png"]
    >>> different_scenes(names, names, np.array([0, 1, 2]), np.array([0, 1, 2])).tolist()
    [2, 0, 1]
    """
    stems = [PurePosixPath(names[k]).stem for k in first]
    others = [PurePosixPath(others[k]).stem for k in second]

    def meetings(turn: int) -> int:
        turned = others[-turn:] + others[:-turn] if turn else others
        return sum(a == b for a, b in zip(stems, turned, strict=True))

    return np.roll(second, min(range(len(stems)), key=meetings))


def _shown(images: ImageSet, chosen: np.ndarray) -> list[dict[str, str]]:
    """Names and data URIs (PNG) of some images."""
    found = []
    for index in chosen:
        file = io.BytesIO()
        pixels = to_rgb(np.asarray(images.samples[index]))
        Image.fromarray(pixels).save(file, format="PNG", optimize=True)
        data = base64.b64encode(file.getvalue()).decode("ascii")
        found.append({"name": images.names[index], "data": f"data:image/png;base64,{data}"})
    return found


def _page(title: str, told: dict[str, object]) -> str:
    """The page: complete HTML, whose policy allows its own script and style and nothing else."""
    folder = Path(__file__).parent
    script = (folder / "study.js").read_text(encoding="utf-8")
    style = (folder / "study.css").read_text(encoding="utf-8")
    hashes = {
        key: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        for key, text in (("script", script), ("style", style))
    }
    # No name of a file can end the element that the data are in.
    content = json.dumps(told).replace("<", "\\u003c")
    templates = Environment(
        loader=PackageLoader("unpaired.study", "."), autoescape=True, undefined=StrictUndefined
    )
    return templates.get_template("study.html.j2").render(
        title=title, hashes=hashes, script=Markup(script), style=Markup(style),
        told=Markup(content),
    )  # fmt: skip
