"""What only JAX has: one jitted step, donated state, transfers, promotion, several devices."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("jax", reason="the jax engine is not installed")

import jax
import jax.numpy as jnp

from conftest import SMALL
from unpaired.config import Runtime
from unpaired.data.batches import Batch, PoolPlan, pool_plan
from unpaired.engines.jax import device
from unpaired.engines.jax import engine as engine_module
from unpaired.engines.jax.device import find_devices
from unpaired.engines.jax.engine import JaxEngine, JaxTranslator
from unpaired.engines.jax.step import exchange, make_state, train_step
from unpaired.engines.seam import initial_state
from unpaired.errors import CheckpointError, ConfigError, TooLarge
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B

ONE = Runtime(engine="jax", device="cpu:0", threads=1)
BOTH = replace(ONE, device="cpu")


def recipe_of(**changes):
    return preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3, "pool_size": 2} | changes)


def initialised(recipe, runtime=ONE):
    engine = JaxEngine(recipe, runtime)
    engine.load(initial_state(engine.state(), recipe))
    return engine


def batch_of(recipe, step):
    rng = np.random.default_rng((7, step + 1))
    shape = (recipe.batch_size, recipe.image_size, recipe.image_size)
    return Batch(
        rng.uniform(-1, 1, (*shape, recipe.bands_a)).astype(np.float32),
        rng.uniform(-1, 1, (*shape, recipe.bands_b)).astype(np.float32),
        pool_plan(recipe, POOL_A, step, slice(None)),
        pool_plan(recipe, POOL_B, step, slice(None)),
    )


# ---- the step -----------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", [ONE, BOTH], ids=["one device", "two devices"])
def test_a_step_is_compiled_once(runtime):
    recipe = recipe_of(seed=77)
    engine = initialised(recipe, runtime)
    before = train_step._cache_size()
    for step in range(4):
        engine.train_step(batch_of(recipe, step), 1.0 - step / 10)
    assert train_step._cache_size() == before + 1


def test_the_state_is_donated():
    """A step needs no second copy of weights, moments and pools."""
    recipe = recipe_of()
    engine = initialised(recipe)
    before = engine._state
    engine.train_step(batch_of(recipe, 0), 1.0)
    kept = [x for x in jax.tree.leaves(before) if not x.is_deleted()]
    assert kept == []


@pytest.mark.parametrize("start", ["noise", "residual", "identity"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_no_hidden_transfer_and_no_promotion(precision, start):
    """Everything is sent to the device explicitly; no type or rank is guessed."""
    recipe = recipe_of(precision=precision, start=start)
    engine = initialised(recipe)
    with (
        jax.transfer_guard("disallow"),
        jax.numpy_dtype_promotion("strict"),
        jax.numpy_rank_promotion("raise"),
    ):
        losses = [engine.train_step(batch_of(recipe, step), 0.5) for step in range(2)]
        engine.translate(batch_of(recipe, 0).real_a, "ab")
        engine.judge(batch_of(recipe, 0).real_a, "a")
        state = engine.state()
        engine.load(state)
    assert all(np.isfinite(float(x)) for x in losses[1].values())
    wide = np.float64 if precision == "fp64" else np.float32
    assert {x.dtype for name, x in state.items() if name != "updates"} == {np.dtype(wide)}


def test_the_guard_sees_a_transfer():
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match=r"[Dd]isallowed"):
        jax.jit(lambda x: x + 1)(np.ones(3, np.float32))


def test_float64_is_enabled_for_the_engine_alone():
    recipe = recipe_of(precision="fp64")
    initialised(recipe).train_step(batch_of(recipe, 0), 1.0)
    assert jnp.zeros(3).dtype == np.float32


@pytest.mark.parametrize("slots", [0, 1, 3])
def test_exchange_against_a_list(slots):
    """Each lane has a pool of its own; restated plainly, with lists."""
    lanes, rng = 3, np.random.default_rng(slots + 1)
    pools = rng.normal(size=(lanes, slots, 2, 2, 1)).astype(np.float32)
    plain = [[x.copy() for x in pool] for pool in pools]
    for _ in range(12):
        fakes = rng.normal(size=(lanes, 2, 2, 1)).astype(np.float32)
        store, swap = (rng.random((2, lanes)) < 0.6) & bool(slots)
        plan = PoolPlan(rng.integers(0, max(slots, 1), lanes, np.int32), store, swap & store)
        expected = []
        for lane, fake in enumerate(fakes):
            slot, shown = plan.slot[lane], fake
            if plan.store[lane]:
                shown = plain[lane][slot] if plan.swap[lane] else fake
                plain[lane][slot] = fake
            expected.append(shown)
        shown, pools = exchange(jnp.asarray(pools), jnp.asarray(fakes), plan)
        assert np.array_equal(shown, expected)
    assert np.array_equal(pools, np.array(plain, np.float32).reshape(pools.shape))


def test_sizes_of_the_networks_of_2017():
    state = jax.eval_shape(
        lambda: make_state(preset("paper", {"bands_a": 3, "bands_b": 3}), np.dtype("f4"))
    )

    def count(network):
        return sum(x.size for x in jax.tree.leaves(network))

    assert count(state.generators["generator_ab"]) == 11_372_931
    assert count(state.discriminators["discriminator_a"]) == 2_763_841


# ---- devices ------------------------------------------------------------------------------


def test_two_devices_with_half_the_batch_each_are_one_with_the_whole():
    """Losses, weights, moments and pools after four steps, in fp64."""
    recipe = recipe_of(precision="fp64")
    one, both = initialised(recipe, ONE), initialised(recipe, BOTH)
    assert (len(one.machine.devices), len(both.machine.devices)) == (1, 2)
    for step in range(4):
        ours, theirs = (e.train_step(batch_of(recipe, step), 0.9) for e in (one, both))
        assert {n: float(x) for n, x in ours.items()} == pytest.approx(
            {n: float(x) for n, x in theirs.items()}, rel=1e-9, abs=0
        )
    states = one.state(), both.state()
    for name, array in states[0].items():
        scale = np.abs(array).max(initial=0)
        assert np.abs(array - states[1][name]).max(initial=0) <= 1e-9 * scale, name


def test_the_work_is_divided():
    """A device holds its lanes of the pools and a copy of the weights."""
    recipe = recipe_of(seed=77)
    engine = initialised(recipe, BOTH)
    engine.train_step(batch_of(recipe, 0), 1.0)
    pool = engine._state.pools["pool_a"]
    assert [shard.data.shape[0] for shard in pool.addressable_shards] == [1, 1]
    weight = engine._state.generators["generator_ab"].stem.weight
    assert [shard.data.shape for shard in weight.addressable_shards] == [weight.shape] * 2
    text = train_step.lower(
        engine._state,
        engine.machine.send(batch_of(recipe, 0).real_a),
        engine.machine.send(batch_of(recipe, 0).real_b),
        *jax.device_put((pool_plan(recipe, POOL_A, 0, slice(None)),) * 2, pool.sharding),
        {},
        {},
        engine.machine.place(np.float32(1)),
        recipe=recipe, parts=1, one_by_one=False, mesh=None,
    ).compile().as_text()  # fmt: skip
    assert "all-reduce" in text  # of the gradients
    assert "all-gather" not in text  # nothing else is exchanged


def test_a_batch_that_does_not_divide_takes_fewer_devices():
    recipe = recipe_of(batch_size=3, blocks=0, identity=0.0)
    engine = initialised(recipe, BOTH)
    assert len(engine.machine.devices) == 1
    engine.train_step(batch_of(recipe, 0), 1.0)


def test_images_that_do_not_divide_are_still_translated():
    recipe = recipe_of()
    one, both = (JaxTranslator(recipe, runtime) for runtime in (ONE, BOTH))
    weights = {n: x for n, x in initialised(recipe).state().items() if n.startswith("generator_")}
    for translator in (one, both):
        translator.load_generators(weights)
    for count in (1, 2, 3):
        images = np.random.default_rng(count).uniform(-1, 1, (count, 8, 12, 3)).astype("f4")
        np.testing.assert_allclose(
            one.translate(images, "ab"), both.translate(images, "ab"), atol=1e-6
        )


@pytest.mark.parametrize("name", ["cuda", "cpu:7", "cpu:x", "mps", "toaster"])
def test_a_device_that_is_not_available(name):
    with pytest.raises(ConfigError) as error:
        find_devices(name)
    assert str(error.value) == (
        f"--device {name} is not available for the jax engine: use --device auto or cpu"
    )


def test_signature_names_what_equality_depends_on():
    assert JaxEngine(recipe_of(), ONE).signature() == f"jax {jax.__version__}, cpu, 1 threads"
    both = JaxEngine(recipe_of(), BOTH)
    assert both.signature() == f"jax {jax.__version__}, 2 x cpu, 1 threads"


# ---- memory -------------------------------------------------------------------------------


@pytest.mark.parametrize("real", [True, False])
def test_a_lack_of_memory_is_one_line_that_says_what_to_do(real, monkeypatch):
    recipe = recipe_of()
    engine, lone, batch = initialised(recipe), JaxTranslator(recipe, ONE), batch_of(recipe, 0)

    def run(*_, **__):
        if real:
            return jnp.zeros(2**50, np.float32).block_until_ready()
        raise MemoryError

    monkeypatch.setattr(device, "forward", run)
    monkeypatch.setattr(engine_module, "train_step", run)
    for each in (engine, lone):
        with pytest.raises(TooLarge) as caught:
            each.translate(np.zeros((1, 8, 12, 3), np.float32), "ab")
        assert str(caught.value) == (
            "the device has too little memory to translate an image of 12 x 8 pixels: "
            "use a smaller --working-size"
        )
    with pytest.raises(TooLarge, match="to judge 2 images of 8 x 8 pixels: use smaller images"):
        engine.judge(np.zeros((2, 8, 8, 3), np.float32), "a")
    with pytest.raises(TooLarge, match=r"to train on 2 images of 8 x 8 pixels: .*--batch-size"):
        engine.train_step(batch, 1.0)


def test_other_errors_keep_their_own_kind(monkeypatch):
    def run(*_, **__):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: a memory space is wrong")

    engine = initialised(recipe_of())
    monkeypatch.setattr(device, "forward", run)
    with pytest.raises(jax.errors.JaxRuntimeError, match="memory space"):
        engine.translate(np.zeros((1, 8, 8, 3), np.float32), "ab")


# ---- the state ----------------------------------------------------------------------------


def test_a_state_that_does_not_fit_is_rejected():
    engine = initialised(recipe_of())
    state = engine.state()
    with pytest.raises(CheckpointError, match=r"does not fit the recipe: extra is unexpected"):
        engine.load(state | {"extra": np.zeros(1)})
    with pytest.raises(CheckpointError, match=r"does not fit the recipe: pool_a is missing"):
        engine.load({name: x for name, x in state.items() if name != "pool_a"})
    with pytest.raises(CheckpointError, match=r"pool_a has shape \(1,\), expected \(2, 2, 8, 8, 3"):
        engine.load(state | {"pool_a": np.zeros(1)})
    with pytest.raises(CheckpointError, match=r"generator_ab.head.bias is missing"):
        JaxTranslator(recipe_of(), ONE).load_generators(
            {n: x for n, x in state.items() if n != "generator_ab.head.bias"}
        )
