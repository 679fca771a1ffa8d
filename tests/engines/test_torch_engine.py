"""The step of preset `paper` against a plain restatement, and against arithmetic by hand."""

import dataclasses

import numpy as np
import pytest
import torch

import plain
from unpaired.config import Runtime
from unpaired.data.batches import Batch, PoolPlan, pool_plan
from unpaired.engines.seam import initial_state
from unpaired.engines.torch import engine as engine_module
from unpaired.engines.torch.device import find_device
from unpaired.engines.torch.engine import TorchEngine, exchange
from unpaired.engines.torch.translator import TorchTranslator
from unpaired.errors import CheckpointError, ConfigError, TooLarge
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B

CPU = Runtime(device="cpu", threads=1)
LITTLE = {
    "load_size": 24, "image_size": 24, "width": 4, "blocks": 2, "discriminator_width": 4,
    "precision": "fp64", "bands_a": 3, "bands_b": 3, "steps": 100,
}  # fmt: skip


def little(**changes):
    return preset("paper", LITTLE | changes)


def initialised(recipe):
    engine = TorchEngine(recipe, CPU)
    engine.load(initial_state(engine.state(), recipe))
    return engine


def batch_of(recipe, step):
    rng = np.random.default_rng((7, step))
    shape = (recipe.batch_size, recipe.image_size, recipe.image_size)
    return Batch(
        rng.uniform(-1, 1, (*shape, recipe.bands_a)),
        rng.uniform(-1, 1, (*shape, recipe.bands_b)),
        pool_plan(recipe, POOL_A, step, slice(None)),
        pool_plan(recipe, POOL_B, step, slice(None)),
    )


def twin_of(engine):
    """The plain step with the same initial weights."""
    recipe = engine.recipe
    how = {"identity": recipe.identity, "start": recipe.start}
    step = plain.Step(width=4, blocks=2, discriminator_width=4, **how)
    for name, network in (
        ("generator_ab", step.g_ab), ("generator_ba", step.g_ba),
        ("discriminator_a", step.d_a), ("discriminator_b", step.d_b),
    ):  # fmt: skip
        network.double()
        ours = [p for key, p in engine.parameters.items() if key.startswith(name + ".")]
        for p, q in zip(ours, network.parameters(), strict=True):
            q.data.copy_(p.data)
    step.make_optimisers()
    return step


def to_torch(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("identity", "start"), [(0.5, "noise"), (0.0, "noise"), (0.0, "identity"), (0.0, "residual")]
)
def test_sixty_steps_equal_the_plain_ones(identity, start):
    """Past the filling of the pool, so that its swaps count: losses and weights in fp64.

    The heads are drawn here for a start from the images too: plainly written, its first cycle
    differs from the image by rounding errors, whose signs are the slope of the loss.
    """
    recipe = little(identity=identity, start=start)
    engine = TorchEngine(recipe, CPU)
    engine.load(initial_state(engine.state(), dataclasses.replace(recipe, start="noise")))
    twin = twin_of(engine)
    for step in range(60):
        batch = batch_of(recipe, step)
        ours = engine.train_step(batch, 1.0)
        chances = [(int(plan.slot[0]), bool(plan.swap[0])) for plan in (batch.pool_a, batch.pool_b)]
        theirs = twin(to_torch(batch.real_a), to_torch(batch.real_b), *chances)
        assert {name: float(x) for name, x in ours.items()} == pytest.approx(theirs, rel=1e-8)
    for name, network in (("generator_ab", twin.g_ab), ("discriminator_b", twin.d_b)):
        mine = [p for key, p in engine.parameters.items() if key.startswith(name + ".")]
        for p, q in zip(mine, network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-9)


def test_losses_of_constant_networks_by_hand():
    """With all weights 0 a generator gives tanh(bias) everywhere, a discriminator its bias."""
    recipe = little()
    engine = TorchEngine(recipe, CPU)
    state = {name: np.zeros_like(array) for name, array in engine.state().items()}
    state["generator_ab.head.bias"][:] = 0.5
    state["generator_ba.head.bias"][:] = -0.25
    state["discriminator_a.head.bias"][:] = 0.7
    state["discriminator_b.head.bias"][:] = -0.2
    engine.load(state)
    batch = batch_of(recipe, 0)
    losses = {name: float(x) for name, x in engine.train_step(batch, 0.0).items()}
    made_b, made_a = np.tanh(0.5), np.tanh(-0.25)
    assert losses == pytest.approx(
        {
            "adversarial_ab": (-0.2 - 1) ** 2,
            "adversarial_ba": (0.7 - 1) ** 2,
            "cycle_a": np.abs(made_a - batch.real_a).mean(),
            "cycle_b": np.abs(made_b - batch.real_b).mean(),
            "identity_a": np.abs(made_a - batch.real_a).mean(),
            "identity_b": np.abs(made_b - batch.real_b).mean(),
            "discriminator_a": ((0.7 - 1) ** 2 + 0.7**2) / 2,
            "discriminator_b": ((-0.2 - 1) ** 2 + 0.2**2) / 2,
        }
    )


def test_the_first_adam_step_has_the_size_of_the_rate():
    """Bias-corrected Adam moves every weight with a gradient by the rate at its first step."""
    recipe = little()
    engine = initialised(recipe)
    before = engine.state()
    engine.train_step(batch_of(recipe, 0), 0.5)
    moved = np.abs(engine.state()["generator_ab.stem.weight"] - before["generator_ab.stem.weight"])
    assert np.median(moved) == pytest.approx(1e-4, rel=1e-3)


def test_discriminators_train_on_fakes_from_before_the_generators_moved():
    """Update order: with the discriminators' rate 0 the generators still move, and the pool holds
    results of the old generators."""
    recipe = little(discriminator_rate=0.0)
    engine = initialised(recipe)
    batch = batch_of(recipe, 0)
    before = engine.state()
    fake_b = engine.translate(batch.real_a, "ab")
    engine.train_step(batch, 1.0)
    after = engine.state()
    np.testing.assert_allclose(after["pool_b"][0, 0], fake_b[0], atol=1e-6)
    assert np.array_equal(
        after["discriminator_a.head.weight"], before["discriminator_a.head.weight"]
    )
    assert not np.array_equal(after["generator_ab.stem.weight"], before["generator_ab.stem.weight"])


def test_generators_get_no_gradient_from_the_discriminators_loss():
    recipe = little()
    engine = initialised(recipe)
    update = engine._update_discriminators

    def gradients():
        return {
            name: parameter.grad.clone()
            for name, parameter in engine.parameters.items()
            if name.startswith("generator_")
        }

    seen = []

    def watched(*arguments):
        seen.append(gradients())
        losses = update(*arguments)
        seen.append(gradients())
        return losses

    engine._update_discriminators = watched
    engine.train_step(batch_of(recipe, 0), 1.0)
    before, after = seen
    assert any(gradient.any() for gradient in before.values())
    for name, gradient in before.items():
        assert torch.equal(after[name], gradient), name


def test_pool_by_hand():
    pool = torch.zeros(1, 2, 1, 1, 1)

    def show(value, slot, store, swap):
        plan = PoolPlan(np.array([slot]), np.array([store]), np.array([swap]))
        return float(exchange(pool, torch.full((1, 1, 1, 1), float(value)), plan))

    assert show(1, 0, True, False) == 1  # fills
    assert show(2, 1, True, False) == 2
    assert show(3, 0, True, True) == 1  # the old one is shown, the new one stays
    assert show(4, 1, False, False) == 4  # the new one is shown and not kept
    assert pool.flatten().tolist() == [3, 2]


def test_lanes_of_the_pool_are_separate():
    pool = torch.zeros(2, 1, 1, 1, 1)
    plan = PoolPlan(np.array([0, 0]), np.array([True, False]), np.array([False, False]))
    exchange(pool, torch.tensor([5.0, 6.0]).view(2, 1, 1, 1), plan)
    assert pool.flatten().tolist() == [5, 0]


def test_ema_by_hand():
    recipe = little(ema=0.9)
    engine = initialised(recipe)
    expected = engine.state()["generator_ab.head.bias"]
    name = "generator_ab.head.bias"
    for step in range(30):
        engine.train_step(batch_of(recipe, step), 1.0)
        decay = min(0.9, (step + 1) / (step + 10))
        expected = decay * expected + (1 - decay) * engine.state()[name]
    np.testing.assert_allclose(engine.state()["ema." + name], expected, rtol=1e-10)


def test_translate_uses_the_ema_and_does_not_change_training():
    recipe = little(ema=0.9)
    engine = initialised(recipe)
    for step in range(3):
        engine.train_step(batch_of(recipe, step), 1.0)
    images = batch_of(recipe, 0).real_a
    before = engine.state()
    translated = engine.translate(images, "ab")
    for name, array in engine.state().items():
        assert array.tobytes() == before[name].tobytes(), name
    lone = TorchTranslator(recipe, CPU)
    lone.load_generators(
        {k.removeprefix("ema."): v for k, v in before.items() if k.startswith("ema.")}
    )
    np.testing.assert_array_equal(lone.translate(images, "ab"), translated)
    lone.load_generators({k: v for k, v in before.items() if k.startswith("generator_")})
    assert not np.array_equal(lone.translate(images, "ab"), translated)


@pytest.mark.parametrize(("bands_a", "bands_b"), [(1, 3), (2, 13), (4, 1)])
def test_any_bands(bands_a, bands_b):
    recipe = little(bands_a=bands_a, bands_b=bands_b)
    engine = initialised(recipe)
    losses = engine.train_step(batch_of(recipe, 0), 1.0)
    assert "identity_a" not in losses  # off by default where bands differ
    made = engine.translate(np.zeros((2, 24, 28, bands_a), np.float32), "ab")
    assert made.shape == (2, 24, 28, bands_b)


def test_bf16_is_near_fp32_and_keeps_its_state_in_fp32():
    images = np.random.default_rng(0).uniform(-1, 1, (1, 24, 24, 3)).astype(np.float32)
    made = {}
    for precision in ("fp32", "bf16"):
        recipe = little(precision=precision)
        engine = initialised(recipe)
        batch = batch_of(recipe, 0)
        single = {"real_a": batch.real_a.astype("f4"), "real_b": batch.real_b.astype("f4")}
        engine.train_step(dataclasses.replace(batch, **single), 1.0)
        made[precision] = engine.translate(images, "ab")
        assert {array.dtype for array in engine.state().values()} == {
            np.dtype("float32"), np.dtype("int64"),
        }  # fmt: skip
    difference = np.abs(made["bf16"] - made["fp32"])
    assert 0 < difference.max() < 0.1


def test_initial_weights_have_the_right_deviation_and_differ():
    state = initialised(preset("paper", LITTLE | {"width": 16})).state()
    a, b = state["generator_ab.blocks.0.conv1.weight"], state["generator_ba.blocks.0.conv1.weight"]
    assert a.std() == pytest.approx(0.02, rel=0.02)
    assert abs(a.mean()) < 0.001
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05  # the two start different
    assert not state["generator_ab.head.bias"].any()
    assert not any(state[name].any() for name in state if name.startswith(("moment", "pool")))


def test_a_state_that_does_not_fit_is_rejected():
    engine = initialised(little())
    state = engine.state()
    with pytest.raises(CheckpointError, match=r"generator_ab\.stem\.weight has shape"):
        engine.load(state | {"generator_ab.stem.weight": np.zeros((1, 2))})
    with pytest.raises(CheckpointError, match="surplus is unexpected"):
        engine.load(state | {"surplus": np.zeros(1)})
    del state["pool_a"]
    with pytest.raises(CheckpointError, match="pool_a is missing"):
        engine.load(state)


# ---- memory -------------------------------------------------------------------------------


def no_memory(*_):
    """PyTorch's own allocator error."""
    return torch.empty(2**60)


def raising(error):
    def run(*_):
        raise error

    return run


@pytest.mark.parametrize(
    "run",
    [
        no_memory,
        raising(MemoryError()),
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")),
        raising(RuntimeError("MPS backend out of memory (allocated: 4 GB)")),
        raising(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED")),
    ],
    ids=["real", "Python", "CUDA", "MPS", "cuBLAS"],
)
def test_a_lack_of_memory_is_one_line_that_says_what_to_do(run, monkeypatch):
    recipe = little(ema=0.9)
    engine, lone, batch = initialised(recipe), TorchTranslator(recipe, CPU), batch_of(recipe, 0)
    monkeypatch.setattr(engine_module.Generator, "forward", run)
    monkeypatch.setattr(engine_module.Discriminator, "forward", run)
    for each in (engine, lone):
        with pytest.raises(TooLarge) as caught:
            each.translate(np.zeros((1, 8, 12, 3), np.float32), "ab")
        assert str(caught.value) == (
            "the device has too little memory to translate an image of 12 x 8 pixels: "
            "use a smaller --working-size"
        )
    with pytest.raises(TooLarge, match="to judge 2 images of 24 x 24 pixels: use smaller images"):
        engine.judge(np.zeros((2, 24, 24, 3), np.float32), "a")
    with pytest.raises(TooLarge, match=r"to train on an image of 24 x 24 pixels: .*--batch-size"):
        engine.train_step(batch, 1.0)


def test_other_errors_keep_their_own_kind(monkeypatch):
    engine = initialised(little())
    monkeypatch.setattr(
        engine_module.Generator, "forward", raising(RuntimeError("a memory format is wrong"))
    )
    with pytest.raises(RuntimeError, match="memory format"):
        engine.translate(np.zeros((1, 8, 8, 3), np.float32), "ab")


# ---- devices ------------------------------------------------------------------------------


def test_devices():
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="not a device"):
        find_device("quantum")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="is not available"):
            find_device("cuda")
