"""The contract of every engine, the fake one included: the seam as tests."""

import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from conftest import SMALL
from fake_engine import FakeEngine
from unpaired.config import Runtime
from unpaired.data.batches import Batch, pool_plan
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import LOSSES, initial_state
from unpaired.errors import MissingExtra
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B

CPU = Runtime(device="cpu", threads=1)
NETWORKS = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
NAME = re.compile(
    r"(ema\.generator_(ab|ba)|((moment1|moment2)\.)?(generator_(ab|ba)|discriminator_[ab]))"
    r"(\.[a-z0-9_]+)+\.(weight|bias)|pool_[ab]|updates"
)


@pytest.fixture(params=["fake", "torch", "jax"])
def make(request):
    """Makes an engine of a recipe, its state not yet loaded."""
    if request.param == "fake":
        return lambda recipe: FakeEngine(recipe, CPU)
    pytest.importorskip(request.param, reason=f"the {request.param} engine is not installed")
    return lambda recipe: make_engine(recipe, runtime_of(request.param))


@pytest.fixture
def translator(request, make):
    """Makes the generators alone, of the same framework."""
    name = request.node.callspec.params["make"]
    if name == "fake":
        return lambda recipe: FakeEngine(recipe, CPU)
    return lambda recipe: make_translator(recipe, runtime_of(name))


def runtime_of(engine):
    return Runtime(engine=engine, device="cpu:0", threads=1)


def recipe_of(**changes):
    of_2017 = {"discriminator_norm": "instance", "gradient_penalty": 0.0}
    own = {"bands_a": 3, "bands_b": 3, "pool_size": 2}
    return preset("tiny", SMALL | of_2017 | own | changes)


def initialised(make, recipe):
    engine = make(recipe)
    engine.load(initial_state(engine.state(), recipe))
    return engine


def trained(make, recipe, steps=4):
    """An engine with nothing left at 0: the pools have filled."""
    engine = initialised(make, recipe)
    for step in range(steps):
        engine.train_step(batch_of(recipe, step), 1.0)
    return engine


def random_images(bands, count=3, size=(12, 20)):
    rng = np.random.default_rng((1, bands, count))
    return rng.uniform(-1, 1, (count, *size, bands)).astype(np.float32)


def batch_of(recipe, step):
    rng = np.random.default_rng((7, step))
    shape = (recipe.batch_size, recipe.image_size, recipe.image_size)
    return Batch(
        rng.uniform(-1, 1, (*shape, recipe.bands_a)).astype(np.float32),
        rng.uniform(-1, 1, (*shape, recipe.bands_b)).astype(np.float32),
        pool_plan(recipe, POOL_A, step, slice(None)),
        pool_plan(recipe, POOL_B, step, slice(None)),
    )


def assert_same(one, other):
    """Two states are equal to the last bit, in names, types and shapes too."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert (array.dtype, array.shape) == (other[name].dtype, other[name].shape), name
        assert array.tobytes() == other[name].tobytes(), name


# ---- the state ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"ema": 0.0, "upsample": "transposed", "bands_b": 1}])
def test_names_are_canonical_and_stay(make, changes):
    recipe = recipe_of(**changes)
    engine = initialised(make, recipe)
    state = engine.state()
    assert [name for name in state if not NAME.fullmatch(name)] == []
    assert {"updates", "pool_a", "pool_b"} <= state.keys()
    for network in NETWORKS:
        assert any(name.startswith(f"{network}.") for name in state), network
    engine.train_step(batch_of(recipe, 0), 1.0)
    assert {n: (x.shape, x.dtype) for n, x in engine.state().items()} == {
        n: (x.shape, x.dtype) for n, x in state.items()
    }
    assert all(type(array) is np.ndarray for array in state.values())


def test_every_part_of_the_state_moves(make):
    """Otherwise a resume could lose it unnoticed."""
    before, after = (trained(make, recipe_of(), steps).state() for steps in (3, 6))
    still = [name for name, array in before.items() if array.tobytes() == after[name].tobytes()]
    assert still == []
    assert (before["updates"], after["updates"]) == (3, 6)


def test_a_state_is_a_copy(make):
    recipe = recipe_of()
    engine = trained(make, recipe)
    state, kept = engine.state(), engine.state()
    for array in state.values():
        array[...] = 99
    assert_same(engine.state(), kept)
    engine.train_step(batch_of(recipe, 4), 1.0)
    assert all((array == 99).all() for array in state.values())


def test_a_loaded_state_is_a_copy(make):
    recipe = recipe_of()
    given = trained(make, recipe).state()
    kept = {name: array.copy() for name, array in given.items()}
    engine = make(recipe)
    engine.load(given)
    for array in given.values():
        array[...] = 99
    assert_same(engine.state(), kept)
    engine.load(given)
    engine.train_step(batch_of(recipe, 0), 1.0)
    assert all((array == 99).all() for array in given.values())


def test_loading_its_own_state_changes_nothing(make):
    engine = trained(make, recipe_of())
    state = engine.state()
    engine.load(state)
    assert_same(engine.state(), state)


def test_a_state_holds_everything(make):
    """A fresh engine with the state of another continues as that one does."""
    recipe = recipe_of()
    one = trained(make, recipe, 3)
    other = trained(make, recipe, 2)  # it has a past of its own
    other.load(one.state())
    for step in range(3, 7):
        ours, theirs = (engine.train_step(batch_of(recipe, step), 0.7) for engine in (one, other))
        assert [float(x) for x in ours.values()] == [float(x) for x in theirs.values()]
        assert_same(one.state(), other.state())
    for domain in ("a", "b"):
        images = random_images(3)
        assert one.judge(images, domain).tobytes() == other.judge(images, domain).tobytes()


def test_same_state_and_batch_give_the_same_state(make):
    recipe = recipe_of()
    engine = trained(make, recipe)
    state = engine.state()
    engine.train_step(batch_of(recipe, 9), 0.5)
    once = engine.state()
    engine.load(state)
    engine.train_step(batch_of(recipe, 9), 0.5)
    assert_same(engine.state(), once)
    engine.load(state)
    engine.train_step(batch_of(recipe, 10), 0.5)
    assert engine.state()["pool_a"].tobytes() != once["pool_a"].tobytes()  # the batch counts


def test_initial_state(make):
    recipe = recipe_of(seed=3)
    shapes = make(recipe).state()
    state = initial_state(shapes, recipe)
    assert {n: (x.shape, x.dtype) for n, x in state.items()} == {
        n: (x.shape, x.dtype) for n, x in shapes.items()
    }
    drawn = {n for n in state if n.startswith(NETWORKS) and n.endswith(".weight")}
    assert {n.split(".")[0] for n in drawn} == set(NETWORKS)
    assert all(state[name].all() for name in drawn)
    for name in state.keys() - drawn:
        if name.startswith("ema."):
            assert state[name].tobytes() == state[name.removeprefix("ema.")].tobytes()
        else:
            assert not state[name].any(), name
    values = np.concatenate([state[name].ravel() for name in sorted(drawn)])
    assert len(np.unique(values)) == len(values)  # nothing is drawn twice
    if len(values) > 1000:
        assert values.std() == pytest.approx(0.02, rel=0.1)
    assert_same(initial_state(dict(reversed(shapes.items())), recipe) | state, state)
    other = initial_state(shapes, replace(recipe, seed=4))
    assert other[min(drawn)].tobytes() != state[min(drawn)].tobytes()


def test_initial_state_takes_the_type_of_its_shapes():
    shapes = {"generator_ab.x.weight": np.ones((3, 4)), "updates": np.array(7)}
    float32 = {name: array.astype("f4") for name, array in shapes.items()}
    double, single = (initial_state(each, recipe_of()) for each in (shapes, float32))
    assert double["generator_ab.x.weight"].dtype == np.float64
    assert single["generator_ab.x.weight"].dtype == np.float32
    np.testing.assert_allclose(
        *(state["generator_ab.x.weight"] for state in (double, single)), 1e-6
    )
    assert (double["updates"], double["updates"].shape) == (0, ())


# ---- the step -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "has_identity"),
    [({}, True), ({"identity": 0.0}, False), ({"bands_b": 1}, False), ({"cycle": 0.0}, False)],
)
def test_losses(make, changes, has_identity):
    recipe = recipe_of(**changes)
    losses = initialised(make, recipe).train_step(batch_of(recipe, 0), 1.0)
    expected = [name for name in LOSSES if has_identity or not name.startswith("identity")]
    assert list(losses) == expected
    values = [float(loss) for loss in losses.values()]
    assert all(np.isfinite(values))
    assert all(value >= 0 for value in values)


def test_losses_keep_until_they_are_asked_for(make):
    """They are converted when a line is logged, many steps later."""
    recipe = recipe_of()
    engine = initialised(make, recipe)
    kept, asked = [], []
    for step in range(5):
        kept.append(engine.train_step(batch_of(recipe, step), 1.0))
        asked.append({name: float(loss) for name, loss in kept[-1].items()})
    assert [{name: float(loss) for name, loss in losses.items()} for losses in kept] == asked
    assert asked[0] != asked[4]


def test_a_rate_of_0_leaves_the_weights(make):
    recipe = recipe_of()
    engine = trained(make, recipe)
    before = engine.state()
    engine.train_step(batch_of(recipe, 4), 0.0)
    after = engine.state()
    for name, array in before.items():
        if name.startswith(NETWORKS):
            assert array.tobytes() == after[name].tobytes(), name
    assert after["updates"] == before["updates"] + 1


def test_a_batch_is_not_changed(make):
    recipe = recipe_of()
    engine, batch = trained(make, recipe), batch_of(recipe, 5)
    arrays = [batch.real_a, batch.real_b]
    arrays += [x for plan in (batch.pool_a, batch.pool_b) for x in vars(plan).values()]
    kept = [array.tobytes() for array in arrays]
    engine.train_step(batch, 1.0)
    assert [array.tobytes() for array in arrays] == kept


@pytest.mark.parametrize(
    "changes",
    [
        {"pool_size": 0, "batch_size": 1},
        {"blocks": 0, "width": 1, "discriminator_width": 1, "batch_size": 1},
        # the smallest crop of two layers, and of three
        {"discriminator_layers": 2, "image_size": 12, "bands_a": 13, "bands_b": 2},
        {"discriminator_layers": 3, "image_size": 24, "load_size": 24, "batch_size": 1},
    ],
)
def test_recipes_at_their_limits_train(make, changes):
    recipe = recipe_of(**changes)
    assert all(np.isfinite(x).all() for x in trained(make, recipe).state().values())


# ---- translations and judgements ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands_a", "bands_b", "ema"), [(3, 3, 0.9), (1, 3, 0.9), (3, 1, 0.0), (4, 2, 0.0)]
)
def test_translate(make, bands_a, bands_b, ema):
    recipe = recipe_of(bands_a=bands_a, bands_b=bands_b, ema=ema)
    engine = trained(make, recipe)
    before = engine.state()
    for direction, given, made in (("ab", bands_a, bands_b), ("ba", bands_b, bands_a)):
        for kind in (np.float32, np.float64):
            images = random_images(given).astype(kind)
            translated = engine.translate(images, direction)
            assert np.array_equal(images, random_images(given))
            assert translated.shape == (3, 12, 20, made)
            assert translated.dtype == np.float32
            assert -1 <= translated.min() < translated.max() <= 1
            assert engine.translate(images, direction).tobytes() == translated.tobytes()
    assert_same(engine.state(), before)


def test_translations_are_the_callers(make):
    engine, images = trained(make, recipe_of()), random_images(3)
    translated = engine.translate(images, "ab")
    kept = translated.copy()
    engine.translate(random_images(3)[::-1], "ab")
    assert translated.tobytes() == kept.tobytes()
    translated[:] = 5
    assert engine.translate(images, "ab").tobytes() == kept.tobytes()


def test_images_are_translated_apart(make):
    engine, images = trained(make, recipe_of()), random_images(3, count=4)
    together = engine.translate(images, "ba")
    alone = np.concatenate([engine.translate(image[np.newaxis], "ba") for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_translate_reads_any_memory_layout(make):
    engine, images = trained(make, recipe_of()), random_images(3)
    expected = engine.translate(images[:, ::-1], "ab")
    assert engine.translate(np.ascontiguousarray(images[:, ::-1]), "ab").tobytes() == (
        expected.tobytes()
    )


@pytest.mark.parametrize("domain", ["a", "b"])
def test_judge(make, domain):
    recipe = recipe_of(bands_a=1, bands_b=3)
    engine = trained(make, recipe)
    before = engine.state()
    scores = engine.judge(random_images(1 if domain == "a" else 3), domain)
    assert scores.ndim == 3
    assert len(scores) == 3
    assert scores.size > 0
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert_same(engine.state(), before)


def test_a_translator_needs_the_generators_alone(make, translator):
    recipe = recipe_of(ema=0.0, bands_b=1)
    engine = trained(make, recipe)
    state = engine.state()
    lone = translator(recipe)
    assert lone.memory == "host"  # on a CPU
    lone.load_generators({name: x for name, x in state.items() if name.startswith("generator_")})
    for direction, bands in (("ab", 3), ("ba", 1)):
        expected = engine.translate(random_images(bands), direction)
        assert lone.translate(random_images(bands), direction).tobytes() == expected.tobytes()
        single = translator(recipe)
        single.load_generators(
            {n: x for n, x in state.items() if n.startswith(f"generator_{direction}.")}
        )
        assert single.translate(random_images(bands), direction).tobytes() == expected.tobytes()


# ---- the rest -----------------------------------------------------------------------------


def test_shard_and_signature(make):
    engine = make(recipe_of())
    index, count = engine.shard
    assert 0 <= index < count
    assert engine.signature()
    assert engine.signature() == make(recipe_of()).signature()
    assert "\n" not in engine.signature()


@pytest.mark.parametrize("factory", [make_engine, make_translator])
@pytest.mark.parametrize(
    ("engine", "package"),
    [("torch", "torch"), ("jax", "jax"), ("jax", "equinox"), ("jax", "optax")],
)
def test_a_missing_framework_is_one_clear_line(factory, engine, package, monkeypatch):
    for module in [m for m in sys.modules if m.startswith(f"unpaired.engines.{engine}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(
        sys.modules, package, None
    )  # how Python marks a module that cannot be imported
    with pytest.raises(MissingExtra) as error:
        factory(recipe_of(), replace(CPU, engine=engine))
    assert str(error.value) == (
        f"the {engine} engine needs {package}, which is not installed: "
        f"pip install 'unpaired[{engine}]'"
    )
