"""The gradient penalty against differences, in float64, and its place in the step."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import SMALL
from unpaired.config import Runtime
from unpaired.data.batches import Batch, Further, pool_plan
from unpaired.engines.architecture import discriminator_layers
from unpaired.engines.choice import make_engine
from unpaired.engines.seam import initial_state
from unpaired.presets import preset
from unpaired.streams import POOL_A, POOL_B

STEP = 1e-5
FIRST = np.zeros((1, 2), np.int32)  # slots of the pool
LAYERS = {
    norm: discriminator_layers(2, width=2, layers=1, norm=norm) for norm in ("instance", "none")
}
IMAGES = np.random.default_rng(2).uniform(-1, 1, (2, 8, 8, 2))


def weights_of(layers):
    rng = np.random.default_rng(1)
    shapes = {name: shape for layer in layers for name, shape in layer.parameters.items()}
    return {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}


def in_torch(layers, weights):
    """(scores of NHWC images, penalty of them with its gradients by name)."""
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.losses import gradient_penalty
    from unpaired.engines.torch.networks import Discriminator

    network = Discriminator(layers).double().to(memory_format=torch.channels_last)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})

    def scores(images):
        with torch.no_grad():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    def penalty(images):
        x = torch.from_numpy(images).permute(0, 3, 1, 2).requires_grad_()
        value = gradient_penalty(network(x), x)
        network.zero_grad()
        value.backward()
        found = {name: p.grad for name, p in network.named_parameters()}
        return value.item(), {n: 0 if g is None else g.numpy() for n, g in found.items()}

    return scores, penalty


def in_jax(layers, weights):
    """As `in_torch`."""
    jax = pytest.importorskip("jax")
    import jax.numpy as jnp

    from unpaired.engines.jax.engine import fill, label
    from unpaired.engines.jax.losses import gradient_penalty
    from unpaired.engines.jax.networks import Discriminator

    with jax.enable_x64(True):
        empty = Discriminator(layers, jnp.float64)
        names = label(empty)
        network = fill(empty, names, weights, whole=True)

    def scores(images):
        with jax.enable_x64(True):
            return np.array(network(jnp.asarray(images)))

    def penalty(images):
        with jax.enable_x64(True):
            x = jnp.asarray(images)
            value, slopes = jax.value_and_grad(lambda d: gradient_penalty(d, x))(network)
            pairs = zip(jax.tree.leaves(names), jax.tree.leaves(slopes), strict=True)
            return float(value), {name: np.array(slope) for name, slope in pairs}

    return scores, penalty


@pytest.mark.parametrize("norm", LAYERS)
@pytest.mark.parametrize("engine", [in_torch, in_jax])
def test_it_is_half_the_mean_squared_slope_of_the_mean_score(engine, norm):
    """Each number of an image is moved a little up and down, each time alone."""
    scores, penalty = engine(LAYERS[norm], weights_of(LAYERS[norm]))
    squares = []
    for image in IMAGES:
        places = STEP * np.eye(image.size).reshape(-1, *image.shape)
        up, down = (scores(image + sign * places).mean((1, 2, 3)) for sign in (1, -1))
        squares.append(np.square((up - down) / (2 * STEP)).sum())
    expected = 0.5 * np.mean(squares)
    assert expected > 1e-5
    assert penalty(IMAGES)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", LAYERS)
@pytest.mark.parametrize("engine", [in_torch, in_jax])
def test_its_gradients(engine, norm):
    """Of one weight of each array, by differences of the penalty."""
    weights = weights_of(LAYERS[norm])
    slopes = engine(LAYERS[norm], weights)[1](IMAGES)[1]
    for name, array in weights.items():
        place = tuple(np.random.default_rng(4).integers(array.shape))
        values = []
        for sign in (1, -1):
            moved = array.copy()
            moved[place] += sign * STEP
            values.append(engine(LAYERS[norm], weights | {name: moved})[1](IMAGES)[0])
        expected = (values[0] - values[1]) / (2 * STEP)
        found = slopes[name][place] if np.ndim(slopes[name]) else slopes[name]
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-9), name


@pytest.mark.parametrize("engine", ["torch", "jax"])
@pytest.mark.parametrize(("precision", "images"), [("fp64", 3), ("bf16", 1)])
def test_a_step_adds_it_to_the_gradients_and_not_to_the_losses(engine, precision, images):
    """The first moment after a step is (1 - beta1) times the gradient, which is linear in it.

    On real images and on those from the pool alike, further ones included: the penalty's part of
    the gradient is that of the function above, on all together.
    """
    pytest.importorskip(engine, reason=f"the {engine} engine is not installed")
    runtime = Runtime(engine=engine, device="cpu:0", threads=1)
    base = preset("tiny", SMALL | {
        "bands_a": 2, "bands_b": 2, "pool_size": 2, "batch_size": 1, "precision": precision,
        "discriminator_norm": "none", "ema": 0.0, "discriminator_images": images,
    })  # fmt: skip
    states, losses = [], []
    for weight in (0.0, 2.0, 6.0):
        recipe = replace(base, gradient_penalty=weight)
        one = make_engine(recipe, runtime)
        one.load(initial_state(one.state(), recipe))
        plans = (pool_plan(recipe, pool, 0, slice(None)) for pool in (POOL_A, POOL_B))
        further = {
            domain: Further(np.float32(0.5) * IMAGES[:1].repeat(2, 0).astype(np.float32), FIRST)
            for domain in ("a", "b")
        }
        seen = IMAGES[:, None].astype(np.float32)
        batch = Batch(*seen, *plans, further if images > 1 else {})
        losses.append({name: float(loss) for name, loss in one.train_step(batch, 1.0).items()})
        states.append(one.state())
    assert losses[0] == losses[1] == losses[2]
    moments = [
        {n.removeprefix("moment1."): x for n, x in state.items() if n.startswith("moment1.")}
        for state in states
    ]
    for name in moments[0]:
        twice, six = (moments[k][name] - moments[0][name] for k in (1, 2))
        if name.startswith("generator_"):
            assert not twice.any()
            continue
        tolerance = 1e-9 if precision == "fp64" else 0.05
        np.testing.assert_allclose(six, 3 * twice, rtol=tolerance, atol=tolerance * abs(six).max())
    if precision == "fp64":
        assert moments[0].keys() >= {"discriminator_a.layers.0.weight"}
        for domain, k in (("a", 0), ("b", 1)):
            prefix = f"discriminator_{domain}."
            first = initial_state(states[0], base)
            weights = {n.removeprefix(prefix): x for n, x in first.items() if n.startswith(prefix)}
            shown = states[0][f"pool_{domain}"][0, :1]
            layers = discriminator_layers(2, width=2, layers=1, norm="none")
            real = IMAGES[k][None].astype(np.float32).astype(float)
            more = further[domain].real.astype(float)
            seen = np.concatenate([real, more, shown, shown, shown])  # the pool's slot 0, twice
            slopes = (in_torch if engine == "torch" else in_jax)(layers, weights)[1](seen)[1]
            found = moments[1][f"{prefix}layers.0.weight"] - moments[0][f"{prefix}layers.0.weight"]
            expected = (1 - base.beta1) * 2.0 * slopes["layers.0.weight"]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
