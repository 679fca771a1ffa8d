"""Which tensor of the authors' is which of ours: held against modules that have their layout."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from authors import NLayerDiscriminator, ResnetGenerator, randomised
from unpaired.config import Runtime
from unpaired.engines.architecture import discriminator_layers, generator_layers
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import initial_state
from unpaired.engines.torch.networks import Discriminator, Generator
from unpaired.errors import CheckpointError, ConfigError
from unpaired.presets import preset
from unpaired.weights.original import OriginalNetwork, join, our_name, recognise, to_original

CPU = Runtime(device="cpu", threads=1)


def state_of(network):
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def generator_state(seed=0, **options):
    return state_of(randomised(ResnetGenerator(**{"ngf": 4, "n_blocks": 2} | options), seed))


def discriminator_state(seed=0, **options):
    return state_of(randomised(NLayerDiscriminator(**{"ndf": 4} | options), seed))


def small(**changes):
    return preset(
        "paper",
        {"bands_a": 3, "bands_b": 3, "width": 4, "blocks": 2, "discriminator_width": 4} | changes,
    )


def random_images(bands, side=32, seed=0):
    shape = (2, side, side + 8, bands)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def out_of(network, images):
    """The result of a network of theirs, NHWC in and out."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).to(next(network.parameters()).dtype)
    with torch.no_grad():
        return network(tensor).permute(0, 2, 3, 1).numpy()


def test_the_restated_networks_have_the_size_of_theirs():
    for network, count in ((ResnetGenerator(), 11_378_179), (NLayerDiscriminator(), 2_764_737)):
        assert sum(p.numel() for p in network.parameters()) == count


# ---- import -------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [0, 1, 6, 9])
@pytest.mark.parametrize("dropout", [False, True])
def test_a_generator_is_read_off_its_shapes(blocks, dropout):
    state = generator_state(n_blocks=blocks, use_dropout=dropout, input_nc=3, output_nc=1, ngf=5)
    network = recognise(state, "x.pth")
    assert (network.kind, network.source) == ("generator", "x.pth")
    assert (network.bands_in, network.bands_out) == (3, 1)
    assert (network.width, network.depth) == (5, blocks)
    assert str(network) == f"3 -> 1 bands, width 5, {blocks} blocks"
    ours = Generator(generator_layers(3, 1, width=5, blocks=blocks, upsample="transposed"))
    shapes = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    assert {name: array.shape for name, array in network.arrays.items()} == shapes
    assert {array.dtype for array in network.arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_a_discriminator_is_read_off_its_shapes(layers):
    network = recognise(discriminator_state(n_layers=layers, input_nc=2, ndf=3), "x.pth")
    assert (network.kind, network.bands_in, network.bands_out) == ("discriminator", 2, 1)
    assert (network.width, network.depth) == (3, layers)
    assert str(network) == f"2 bands, width 3, {layers} layers"
    ours = Discriminator(discriminator_layers(2, width=3, layers=layers))
    shapes = {name: tuple(p.shape) for name, p in ours.named_parameters()}
    assert {name: array.shape for name, array in network.arrays.items()} == shapes


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module."]
)
@pytest.mark.parametrize("make", [generator_state, discriminator_state])
def test_prefixes_of_wrappers_do_not_count(prefix, make):
    plain, wrapped = make(), {prefix + name: array for name, array in make().items()}
    expected, found = recognise(plain, "x").arrays, recognise(wrapped, "x").arrays
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_statistics_of_old_instance_norms_do_not_count():
    old = generator_state(old=True)
    assert {name.rpartition(".")[2] for name in old} > {"running_mean", "num_batches_tracked"}
    plain = {name: old[name] for name in generator_state()}
    assert recognise(old, "x").arrays.keys() == recognise(plain, "x").arrays.keys()


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("options", [{"n_blocks": 9}, {"n_blocks": 6, "use_dropout": True}])
def test_a_generator_of_theirs_gives_the_same_images_in_ours(precision, options):
    theirs = randomised(ResnetGenerator(3, 2, ngf=8, **options), 1).eval()
    network = recognise(state_of(theirs), "x")
    recipe = small(width=8, blocks=options["n_blocks"], bands_b=2, precision=precision)
    translator = make_translator(recipe, CPU)
    translator.load_generators(
        {f"generator_ab.{name}": array for name, array in network.arrays.items()}
    )
    images = random_images(3)
    generated = translator.translate(images, "ab")
    theirs.to(torch.float64 if precision == "fp64" else torch.float32)
    expected = out_of(theirs, images)
    assert expected.std() > 0.1
    # What we give is fp32 in any case: half a unit in the last place of numbers up to 1.
    assert np.abs(generated - expected).max() < (1e-5 if precision == "fp32" else 2**-24)


def test_in_fp64_only_rounding_is_between_their_generator_and_ours():
    theirs = randomised(ResnetGenerator(ngf=8, n_blocks=3), 2).double()
    network = recognise(state_of(theirs), "x")
    ours = Generator(generator_layers(3, 3, width=8, blocks=3, upsample="transposed")).double()
    ours.load_state_dict({name: torch.from_numpy(a) for name, a in network.arrays.items()})
    theirs.load_state_dict({name: p.float().double() for name, p in theirs.state_dict().items()})
    x = torch.randn(1, 3, 32, 40, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-7)])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_discriminator_of_theirs_judges_the_same_in_ours(precision, tolerance, layers):
    theirs = randomised(NLayerDiscriminator(ndf=8, n_layers=layers), 3)
    network = recognise(state_of(theirs), "latest_net_D_A.pth")
    recipe = small(
        discriminator_width=8, discriminator_layers=layers, precision=precision, pool_size=0
    )
    engine = make_engine(recipe, CPU)
    named = {f"discriminator_b.{name}": array for name, array in network.arrays.items()}
    engine.load(initial_state(engine.state(), recipe) | named)
    images = random_images(3, side=64)
    if precision == "fp64":
        theirs.double()
    expected = out_of(theirs, images)[..., 0]
    assert expected.std() > 0.1
    assert np.abs(engine.judge(images, "b") - expected).max() < tolerance
    assert np.abs(engine.judge(images, "a") - expected).max() > 0.1


# ---- export -------------------------------------------------------------------------------


def ours_at_random(recipe):
    """All four networks of ours under their names, weights as large as trained ones."""
    rng = np.random.default_rng(4)
    state = make_engine(recipe, CPU).state()
    return {
        name: (rng.standard_normal(a.shape) * max(a[0].size, 1) ** -0.5).astype(np.float32)
        for name, a in state.items()
        if name.startswith(("generator_", "discriminator_"))
    }


def test_what_is_exported_loads_strictly_and_gives_the_same():
    recipe = small(bands_b=1, discriminator_layers=2, pool_size=0)
    arrays = ours_at_random(recipe)
    files = to_original(arrays, recipe)
    engine = make_engine(recipe, CPU)
    engine.load(initial_state(engine.state(), recipe) | arrays)
    sides = {"G_A": (3, 1, "ab"), "G_B": (1, 3, "ba"), "D_A": (1, "b"), "D_B": (3, "a")}
    assert list(files) == list(sides)
    for name, state in files.items():
        *bands, place = sides[name]
        if name.startswith("G"):
            theirs = ResnetGenerator(*bands, ngf=4, n_blocks=2)
        else:
            theirs = NLayerDiscriminator(*bands, ndf=4, n_layers=2)
        assert list(state) == list(theirs.state_dict())  # in their order too
        theirs.load_state_dict({k: torch.from_numpy(a) for k, a in state.items()}, strict=True)
        images = random_images(bands[0])
        expected = out_of(theirs, images)
        assert expected.std() > 0.05
        found = (
            engine.translate(images, place)
            if name.startswith("G")
            else engine.judge(images, place)[..., np.newaxis]
        )
        assert np.abs(found - expected).max() < 1e-5


def test_biases_that_we_do_not_have_go_out_as_zeros():
    recipe = small(pool_size=0)
    arrays = ours_at_random(recipe)
    files = to_original(arrays, recipe)
    kept = {("G_A", "model.19.bias"): "generator_ab.head.bias",
            ("G_B", "model.19.bias"): "generator_ba.head.bias",
            ("D_A", "model.0.bias"): "discriminator_b.layers.0.bias",
            ("D_A", "model.11.bias"): "discriminator_b.head.bias",
            ("D_B", "model.0.bias"): "discriminator_a.layers.0.bias",
            ("D_B", "model.11.bias"): "discriminator_a.head.bias"}  # fmt: skip
    for name, state in files.items():
        for key, array in state.items():
            if (name, key) in kept:
                assert np.array_equal(array, arrays[kept[name, key]])
            elif key.endswith(".bias"):
                assert not array.any(), (name, key)


def test_out_and_in_again_is_the_same():
    recipe = small(bands_a=2, discriminator_layers=1, pool_size=0)
    arrays = ours_at_random(recipe)
    networks = {
        our_name(f"latest_net_{name}"): recognise(state, name)
        for name, state in to_original(arrays, recipe).items()
    }
    told, again = join(networks)
    assert told == {"width": 4, "blocks": 2, "discriminator_width": 4, "discriminator_layers": 1,
                    "bands_a": 2, "bands_b": 3}  # fmt: skip
    assert arrays.keys() == again.keys()
    assert all(np.array_equal(arrays[name], again[name]) for name in arrays)


def test_what_cannot_go_out():
    recipe = small(pool_size=0)
    arrays = ours_at_random(recipe)
    with pytest.raises(ConfigError, match=r"resize convolutions.*--upsample transposed"):
        to_original(arrays, replace(recipe, upsample="resize"))
    with pytest.raises(ConfigError, match=r"add to their input \(--start identity\), and .*noise"):
        to_original(arrays, replace(recipe, start="identity"))
    with pytest.raises(ConfigError, match=r"no norm \(--norm none\), and .*--norm instance"):
        to_original(arrays, replace(recipe, norm="none"))
    with pytest.raises(ConfigError, match=r"\(--discriminator-norm none\).* model\.safetensors"):
        to_original(arrays, replace(recipe, discriminator_norm="none"))
    generators = {name: x for name, x in arrays.items() if name.startswith("generator_")}
    alone = to_original(generators, replace(recipe, discriminator_norm="none"))
    assert list(alone) == ["G_A", "G_B"]
    with pytest.raises(CheckpointError, match=r"blocks\.2\.conv1\.weight is missing"):
        to_original(arrays, replace(recipe, blocks=3))
    with pytest.raises(CheckpointError, match=r"generator_ab\.stem\.weight has shape \(4, 3, 7"):
        to_original(arrays, replace(recipe, width=5))
    one_direction = {name: a for name, a in arrays.items() if name.startswith("generator_ba.")}
    assert list(to_original(one_direction, recipe)) == ["G_B"]


# ---- which is which -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("latest_net_G_A", "generator_ab"),
        ("200_net_G_B", "generator_ba"),
        ("latest_net_D_A", "discriminator_b"),
        ("iter_500_net_D_B", "discriminator_a"),
        ("netG_A", "generator_ab"),
        ("G_B_epoch5", "generator_ba"),
        ("latest_net_G", None),
        ("summer2winter_yosemite", None),
        ("latest_net_D", None),
        ("DOG_A", None),
        ("G_AB", None),
        ("g_a", None),
    ],
)
def test_a_file_is_named_after_its_network(stem, name):
    assert our_name(stem) == name


def test_a_file_named_after_two_networks():
    with pytest.raises(CheckpointError, match="G_A_or_D_B is named after D_B and G_A"):
        our_name("G_A_or_D_B")


def network(kind="generator", source="x.pth", bands=(3, 3), width=4, depth=2):
    return OriginalNetwork(
        kind, source, *bands, width, depth, {"head.bias": np.zeros(3, np.float32)}
    )


def test_a_generator_alone_tells_both_domains():
    told, arrays = join({"generator_ba": network(bands=(1, 4))})
    assert told == {"width": 4, "blocks": 2, "bands_b": 1, "bands_a": 4}
    assert list(arrays) == ["generator_ba.head.bias"]


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        ({}, "no generator among the files"),
        ({"discriminator_a": network("discriminator")}, "no generator among the files"),
        (
            {"generator_ab": network(), "generator_ba": network(source="y.pth", width=8)},
            r"width is 4 in x\.pth and 8 in y\.pth: they are not of one model",
        ),
        (
            {"generator_ab": network(), "generator_ba": network(source="y.pth", depth=9)},
            r"blocks is 2 in x\.pth and 9 in y\.pth: they are not of one model",
        ),
        (
            {"generator_ab": network(bands=(3, 1)), "generator_ba": network(source="y.pth")},
            r"bands_b is 1 in x\.pth and 3 in y\.pth: they are not of one model",
        ),
        (
            {
                "generator_ab": network(bands=(3, 1)),
                "discriminator_a": network("discriminator", "D_B.pth", bands=(1, 1)),
            },
            r"bands_a is 3 in x\.pth and 1 in D_B\.pth: they are not of one model",
        ),
        (
            {
                "generator_ab": network(),
                "discriminator_a": network("discriminator", "D_B.pth", (3, 1), depth=3),
                "discriminator_b": network("discriminator", "D_A.pth", (3, 1), depth=2),
            },
            r"discriminator_layers is 3 in D_B\.pth and 2 in D_A\.pth: they are not of one model",
        ),
    ],
)
def test_networks_that_are_not_of_one_model(networks, told):
    with pytest.raises(CheckpointError, match=told):
        join(networks)


# ---- what is rejected ---------------------------------------------------------------------


def unet_state():
    """Names as nested skip connections give them, and a shape or two."""
    inner = {"0.weight": (8, 4, 4, 4), "1.model.1.weight": (8, 8, 4, 4), "3.weight": (16, 4, 4, 4)}
    return {f"model.model.{key}": np.zeros(shape) for key, shape in inner.items()}


def with_batch_norm():
    bare = {name: a for name, a in generator_state().items() if not name.endswith("bias")}
    norm = {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,)}
    return bare | {f"model.2.{key}": np.ones(shape, np.float32) for key, shape in norm.items()}


def changed(state, **changes):
    """`state` with some tensors in place, or left out where None is given."""
    together = state | {name.replace("__", "."): array for name, array in changes.items()}
    return {name: array for name, array in together.items() if array is not None}


def without_void_biases(state, kept):
    return {name: a for name, a in state.items() if name in kept or not name.endswith("bias")}


REJECTED = {
    "U-Net": (unet_state, r"a U-Net \(--netG unet_128 or unet_256\)"),
    "pixel": (
        lambda: state_of(nn.ModuleDict({"net": nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())})),
        r"a pixel discriminator \(--netD pixel\)",
    ),
    "batch norm": (with_batch_norm, r"'model\.2\.weight'\), as batch norm has \(--norm batch\)"),
    "no norm": (
        lambda: without_void_biases(generator_state(), {"model.19.bias"}),
        "no biases in front of its norms, as with --norm none",
    ),
    "no norm in a discriminator": (
        lambda: without_void_biases(discriminator_state(), {"model.0.bias", "model.11.bias"}),
        "no biases in front of its norms, as with --norm none",
    ),
    "another network": (
        lambda: {"conv1.weight": np.zeros((4, 3, 3, 3)), "fc.bias": np.zeros(4)},
        "neither a ResNet generator nor a PatchGAN.* it has 'conv1.weight', 'fc.bias'",
    ),
    "nothing": (dict, "neither a ResNet generator .* it has nothing"),
    "statistics alone": (lambda: {"model.2.running_mean": np.zeros(4)}, "it has nothing"),
    "no head": (
        lambda: changed(generator_state(), model__19__weight=None),
        r"model\.19\.weight is missing",
    ),
    "a bias missing": (
        lambda: changed(generator_state(), model__4__bias=None),
        r"not a ResNet generator of 2 blocks .*model\.4\.bias is missing",
    ),
    "one more": (
        lambda: changed(generator_state(), model__99__weight=np.zeros((1, 1, 1, 1))),
        r"'model\.99\.weight' is unexpected",
    ),
    "a shape": (
        lambda: changed(generator_state(), model__7__weight=np.zeros((16, 8, 4, 4))),
        r"model\.7\.weight has shape \(16, 8, 4, 4\), expected \(16, 8, 3, 3\)",
    ),
    "a bias of another shape": (
        lambda: changed(discriminator_state(), model__2__bias=np.zeros(3)),
        r"model\.2\.bias has shape \(3,\), expected \(8,\)",
    ),
    "no kernel": (
        lambda: changed(generator_state(), model__1__weight=np.zeros((2, 2))),
        r"model\.1\.weight has shape \(2, 2\), a kernel is needed",
    ),
    "an empty kernel": (
        lambda: changed(discriminator_state(), model__0__weight=np.zeros((0, 3, 4, 4))),
        r"model\.0\.weight has shape \(0, 3, 4, 4\), a kernel is needed",
    ),
    "twice": (
        lambda: generator_state() | {"module.model.1.weight": np.zeros((4, 3, 7, 7))},
        r"holds 'model\.1\.weight' twice",
    ),
    "NaN": (
        lambda: changed(generator_state(), model__19__bias=np.array([0, np.nan, 0])),
        r"model\.19\.bias holds NaN",
    ),
    "whole numbers": (
        lambda: changed(generator_state(), model__19__bias=np.zeros(3, np.int64)),
        r"model\.19\.bias holds NaN, infinity or no floating-point",
    ),
    "a name that breaks lines": (
        lambda: {"a\nb\x1b[31m" + "c" * 1000: np.zeros(3)},
        r"it has 'a\\nb\\x1b\[31mc+'$",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_what_is_rejected(case):
    make, told = REJECTED[case]
    with pytest.raises(CheckpointError, match=told) as caught:
        recognise(make(), "their.pth")
    message = str(caught.value)
    assert message.startswith("their.pth")
    assert "\n" not in message
    assert len(message) < 300
