"""Procedural landscapes: a scene is drawn once and painted twice, as summer and as winter.

A scene is a class map, a shade field and an exposure, drawn from a seed. Some classes share a
colour on purpose: in summer sky and lake, rock and road, meadow and far hill, broadleaf and conifer
have the same colour; in winter meadow and roof are the same white, and rock, cloud and the snow on
conifers are close to it. Only shape and position tell them apart. (The winter colours of `lite`
all differ by at least a few levels, so a fine colour table fitted on pairs does well from winter
to summer.)

Scenes are drawn at twice their size and box-averaged down. Coordinates run from 0 to 1, x to the
right and y down; all lengths below are in these units.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unpaired.directions import DOMAINS, Domain
from unpaired.errors import DataError

__all__ = ["CLASSES", "MIXED", "SMALLEST", "Level", "Scene", "draw", "labels", "paint", "palette"]

Level = Literal["lite", "full"]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Summer and winter colour of each class, RGB from 0 to 255, before shade and exposure.
_COLOURS = {
    "sky": ((110, 165, 225), (184, 186, 192)),
    "cloud": ((225, 228, 232), (225, 228, 232)),
    "rock": ((135, 132, 130), (222, 230, 240)),
    "meadow": ((96, 150, 62), (236, 240, 246)),
    "lake": ((110, 165, 225), (140, 182, 204)),
    "road": ((135, 132, 130), (84, 84, 90)),
    "broadleaf": ((70, 122, 48), (126, 106, 96)),
    "conifer": ((70, 122, 48), (58, 84, 66)),
    "trunk": ((92, 66, 44), (92, 66, 44)),
    "wall": ((225, 210, 180), (225, 210, 180)),
    "roof": ((176, 62, 48), (236, 240, 246)),
    "hill": ((96, 150, 62), (150, 160, 170)),
}
_SNOW = (228, 234, 242)  # on the tops of a conifer's tiers, in winter
_SKY_SLOPE = {"a": 60, "b": 30}  # increase of sky brightness over the image height, in levels
_SKY_LEVEL = 0.2  # height at which the sky has the colour of the table

CLASSES: tuple[str, ...] = tuple(_COLOURS)
SKY, CLOUD, ROCK, MEADOW, LAKE, ROAD, BROADLEAF, CONIFER, TRUNK, WALL, ROOF, HILL = range(12)
MIXED = 255
"""Value of class map pixels on a border between classes."""

SMALLEST = 16
"""Side of the smallest image in pixels; below it the objects vanish."""


@dataclass(frozen=True)
class _Rules:
    """The content of a level of difficulty."""

    details: bool  # clouds, roads, houses and trunks
    trees: tuple[int, int]  # fewest and most
    tree_scale: float
    nearest_horizon: float  # least distance of a tree from the horizon
    lake_chance: float
    lake_scale: tuple[float, float]  # across and down
    shade: float


_RULES: Mapping[Level, _Rules] = MappingProxyType(
    {
        "lite": _Rules(False, (3, 5), 1.5, 0.25, 0.9, (1.35, 1.5), 0.4),
        "full": _Rules(True, (5, 10), 1.0, 0.12, 0.75, (1.0, 1.0), 1.0),
    }
)


@dataclass(frozen=True, eq=False)
class Scene:
    """One landscape before painting; its fields have n = 2 size samples along each side."""

    size: int
    """Side of the painted image in pixels."""
    classes: NDArray[np.uint8]
    """(n, n), indices into `CLASSES`."""
    snow: Mask
    """(n, n), true where snow covers conifers in winter."""
    shade: NDArray[np.float32]
    """(n, n), float32, relative brightness about 1, the same in both paintings."""
    exposure: float
    """Brightness of the whole scene, 0.84 to 0.98, so that white hardly ever reaches 255."""


def draw(seed: int, size: int, level: Level) -> Scene:
    """Draws the scene of a seed: the same at every size, except for its grain.

    Args:
        seed: not negative.
        size: side of the image in pixels, at least 16.
        level: `lite` has seven classes and large shapes, learnable at 32 px; `full` has all twelve.

    Raises:
        DataError: the size is below 16 pixels.
    """
    if size < SMALLEST:
        raise DataError(f"seasons scenes need a size of at least {SMALLEST} pixels, not {size}")
    rules = _RULES[level]
    rng = np.random.default_rng(seed)
    canvas = _Canvas(2 * size)

    horizon = rng.uniform(0.34, 0.58)
    if rules.details:
        _draw_clouds(canvas, rng)
    ground = _draw_land(canvas, rng, horizon)
    if rng.random() < rules.lake_chance:
        _draw_lake(canvas, rng, ground, rules.lake_scale)
    if rules.details and rng.random() < 0.75:
        _draw_road(canvas, rng, ground, horizon)
    _draw_objects(canvas, rng, horizon, rules)

    exposure = float(rng.uniform(0.84, 0.98))
    smooth = 0.05 * _smooth_noise(rng, canvas.n, 16)
    grain = 0.03 * rng.uniform(-1, 1, (canvas.n, canvas.n)) * (canvas.classes != SKY)
    shade = (1 + rules.shade * (smooth + grain)).astype(np.float32)
    return Scene(size, canvas.classes, canvas.snow & (canvas.classes == CONIFER), shade, exposure)


def paint(scene: Scene, domain: Domain) -> NDArray[np.uint8]:
    """Paints a scene in summer (`a`) or winter (`b`): (size, size, 3) RGB, 0 to 255."""
    image = palette(domain).astype(np.float32)[scene.classes]
    if domain == "b":
        image[scene.snow] = _SNOW
    gradient = _SKY_SLOPE[domain] * (_centres(len(image)) - _SKY_LEVEL)
    image += ((scene.classes == SKY) * gradient[:, None])[..., None]
    image *= (scene.exposure * scene.shade)[..., None]
    quarters = image[0::2, 0::2] + image[0::2, 1::2] + image[1::2, 0::2] + image[1::2, 1::2]
    return np.clip(np.rint(quarters / 4), 0, 255).astype(np.uint8)


def labels(scene: Scene) -> tuple[NDArray[np.uint8], Mask]:
    """Returns the class of every pixel, and whether the pixel is purely of that class.

    Returns:
        (size, size) indices into `CLASSES`, `MIXED` where a pixel is not pure; and (size, size),
        true where the pixel's whole area is one class.
    """
    classes = scene.classes
    first = classes[0::2, 0::2]
    pure = (
        (first == classes[0::2, 1::2])
        & (first == classes[1::2, 0::2])
        & (first == classes[1::2, 1::2])
    )
    return np.where(pure, first, MIXED).astype(np.uint8), pure


def palette(domain: Domain) -> Floats:
    """Returns the colours of `CLASSES` before shade and exposure: (12, 3) RGB, 0 to 255."""
    side = DOMAINS.index(domain)
    return np.array([colours[side] for colours in _COLOURS.values()], np.float64)


# Drawing ----------------------------------------------------------------------------------------


class _Canvas:
    """A class map that is painted over from back to front, and its samples' coordinates."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.x = _centres(n)[None, :]
        self.y = _centres(n)[:, None]
        self.classes = np.full((n, n), SKY, np.uint8)
        self.snow = np.zeros((n, n), np.bool_)


def _draw_clouds(canvas: _Canvas, rng: np.random.Generator) -> None:
    noise = _smooth_noise(rng, canvas.n, 5) + 0.5 * _smooth_noise(rng, canvas.n, 10)
    canvas.classes[(noise > 0.55) & (canvas.y < 0.4)] = CLOUD


def _draw_land(canvas: _Canvas, rng: np.random.Generator, horizon: float) -> Mask:
    """Draws mountains, forest hill and meadow; returns the mask of the meadow."""
    ridge = horizon - rng.uniform(0.10, 0.22) + 0.16 * _fractal_line(rng, canvas.n, 5, 0.55)
    hill = horizon - 0.04 + 0.07 * _fractal_line(rng, canvas.n, 3, 0.5)
    edge = horizon + 0.05 + 0.05 * _fractal_line(rng, canvas.n, 3, 0.4)
    canvas.classes[canvas.y > ridge] = ROCK
    canvas.classes[canvas.y > hill] = HILL
    ground: Mask = canvas.y > edge
    canvas.classes[ground] = MEADOW
    return ground


def _draw_lake(
    canvas: _Canvas, rng: np.random.Generator, ground: Mask, scale: tuple[float, float]
) -> None:
    """Draws an ellipse with an irregular shore."""
    dx = canvas.x - rng.uniform(0.15, 0.85)
    dy = canvas.y - rng.uniform(0.68, 0.88)
    across = scale[0] * rng.uniform(0.16, 0.30)
    down = scale[1] * rng.uniform(0.05, 0.10)
    shore = 1 + 0.15 * np.sin(5 * np.arctan2(dy, dx) + rng.uniform(0, 6))
    canvas.classes[((dx / across) ** 2 + (dy / down) ** 2 < shore) & ground] = LAKE


def _draw_road(canvas: _Canvas, rng: np.random.Generator, ground: Mask, horizon: float) -> None:
    """Draws a strip with one bend that narrows towards the horizon."""
    far, near = rng.uniform(0.1, 0.9, 2)
    bend = rng.uniform(-0.25, 0.25)
    nearness = np.clip((canvas.y - horizon - 0.05) / (1 - horizon - 0.05), 0, 1)
    middle = far + (near - far) * nearness + bend * np.sin(np.pi * nearness)
    canvas.classes[(np.abs(canvas.x - middle) < 0.012 + 0.065 * nearness) & ground] = ROAD


def _draw_objects(canvas: _Canvas, rng: np.random.Generator, horizon: float, rules: _Rules) -> None:
    """Draws trees and houses, far ones first; an object's foot is at `y`, near ones are larger."""
    fewest, most = rules.trees
    trees = rng.uniform(horizon + rules.nearest_horizon, 0.97, rng.integers(fewest, most + 1))
    houses = rng.uniform(horizon + 0.15, 0.9, rng.integers(0, 3) if rules.details else 0)
    feet = [(y, False) for y in trees] + [(y, True) for y in houses]
    for y, is_house in sorted(feet):
        x = rng.uniform(0.04, 0.96)
        scale = 0.35 + 0.9 * (y - horizon) / (1 - horizon)
        if is_house:
            _draw_house(canvas, x, y, scale)
        elif rng.random() < 0.5:
            _draw_broadleaf(canvas, rng, x, y, scale * rules.tree_scale, rules.details)
        else:
            _draw_conifer(canvas, x, y, scale * rules.tree_scale, rules.details)


def _draw_house(canvas: _Canvas, x: float, y: float, scale: float) -> None:
    half_width, height = 0.13 * scale, 0.11 * scale
    away = np.abs(canvas.x - x)
    eaves, ridge = y - height, y - 2.1 * height
    below_ridge = (canvas.y - ridge) / (eaves - ridge)
    canvas.classes[(away < half_width) & (canvas.y > eaves) & (canvas.y < y)] = WALL
    roof = (away < 1.25 * half_width * below_ridge) & (canvas.y > ridge) & (canvas.y <= eaves)
    canvas.classes[roof] = ROOF


def _draw_broadleaf(
    canvas: _Canvas, rng: np.random.Generator, x: float, y: float, scale: float, trunk: bool
) -> None:
    """Draws a round crown with a rough edge."""
    dx = canvas.x - x
    if trunk:
        _draw_trunk(canvas, x, y, 0.014 * scale, 0.12 * scale)
    radius = 0.085 * scale
    dy = canvas.y - (y - 0.12 * scale - 0.6 * radius)
    edge = 1 + 0.25 * _smooth_noise(rng, canvas.n, 12)
    canvas.classes[(dx / radius) ** 2 + (dy / (1.1 * radius)) ** 2 < edge] = BROADLEAF


def _draw_conifer(canvas: _Canvas, x: float, y: float, scale: float, trunk: bool) -> None:
    """Draws three tiers, each wider than the one above; snow covers the top of each in winter."""
    if trunk:
        _draw_trunk(canvas, x, y, 0.012 * scale, 0.06 * scale)
    height = 0.30 * scale
    descent = (canvas.y - (y - height)) / (0.88 * height)  # 0 at the tip, 1 under the lowest tier
    in_tier = np.mod(3 * descent, 1)
    half_width = 0.085 * scale * descent * (0.35 + 0.65 * (0.55 + 0.45 * in_tier))
    tree = (descent > 0) & (descent < 1) & (np.abs(canvas.x - x) < half_width)
    canvas.classes[tree] = CONIFER
    canvas.snow[tree] = np.broadcast_to(in_tier < 0.42, tree.shape)[tree]


def _draw_trunk(canvas: _Canvas, x: float, y: float, half_width: float, height: float) -> None:
    inside = (np.abs(canvas.x - x) < half_width) & (canvas.y < y) & (canvas.y > y - height)
    canvas.classes[inside] = TRUNK


# Noise ------------------------------------------------------------------------------------------


@cache
def _centres(n: int) -> Floats:
    """Returns the coordinates of the centres of n samples, 0 to 1."""
    centres = (np.arange(n) + 0.5) / n
    centres.flags.writeable = False
    return centres


def _fractal_line(rng: np.random.Generator, n: int, octaves: int, roughness: float) -> Floats:
    """Returns (n,), about -1 to 1; each octave is twice as fine and `roughness` times as high."""
    line = np.zeros(n)
    for octave in range(octaves):
        pieces = 2 ** (octave + 1)
        knots = rng.uniform(-1, 1, pieces + 1)
        line += roughness**octave * np.interp(np.linspace(0, pieces, n), range(pieces + 1), knots)
    return line / 2


def _smooth_noise(rng: np.random.Generator, n: int, cells: int) -> Floats:
    """Returns (n, n), -1 to 1: value noise of `cells` x `cells` cells, eased between knots."""
    knots = rng.uniform(-1, 1, (cells + 1, cells + 1))
    weights = _easing(n, cells)
    noise: Floats = weights @ knots @ weights.T
    return noise


@cache
def _easing(n: int, cells: int) -> Floats:
    """Returns (n, cells + 1): knot weights at n samples, by smoothstep 3 t^2 - 2 t^3."""
    position = np.linspace(0, cells, n)
    nearness = np.clip(1 - np.abs(position[:, None] - np.arange(cells + 1)), 0, 1)
    weights: Floats = nearness**2 * (3 - 2 * nearness)
    weights.flags.writeable = False
    return weights
