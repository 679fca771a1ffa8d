"""The networks of preset `paper`, layer by layer, and against independent references."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import plain
from unpaired.engines.architecture import discriminator_layers, generator_layers
from unpaired.engines.torch.networks import Discriminator, Generator, Upsampling, instance_norm


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def outputs(network, x, kinds):
    """Shapes that the convolutions of a network give, in order."""
    shapes = []
    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:])))
    network(x)
    return shapes


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def test_paper_generator_layer_by_layer():
    generator = Generator(generator_layers(3, 3, width=64, blocks=9, upsample="transposed"))
    assert parameters(generator) == 11_372_931
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    shapes = outputs(generator, torch.zeros(1, 3, 64, 64), kinds)
    assert shapes == [
        (64, 64, 64), (128, 32, 32), (256, 16, 16),
        *[(256, 16, 16)] * 18,
        (128, 32, 32), (64, 64, 64), (3, 64, 64),
    ]  # fmt: skip
    assert [tuple(p.shape) for p in generator.parameters()] == [
        (64, 3, 7, 7), (128, 64, 3, 3), (256, 128, 3, 3),
        *[(256, 256, 3, 3)] * 18,
        (256, 128, 3, 3), (128, 64, 3, 3), (3, 64, 7, 7), (3,),
    ]  # fmt: skip


def test_paper_discriminator_layer_by_layer():
    discriminator = Discriminator(discriminator_layers(3, width=64, layers=3))
    assert parameters(discriminator) == 2_763_841
    shapes = outputs(discriminator, torch.zeros(1, 3, 256, 256), torch.nn.Conv2d)
    assert shapes == [(64, 128, 128), (128, 64, 64), (256, 32, 32), (512, 31, 31), (1, 30, 30)]


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_a_patch_of_its_size(layers, field):
    # Without norms, which see the whole image, the gradient shows what a score sees.
    facts = discriminator_layers(1, width=4, layers=layers, norm="none")
    x = torch.zeros(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    middle = Discriminator(facts).double()(x)
    middle[0, 0, middle.shape[2] // 2, middle.shape[3] // 2].backward()
    rows = np.flatnonzero(x.grad[0, 0].abs().sum(1).numpy())
    assert rows[-1] - rows[0] + 1 == field


@pytest.mark.parametrize(
    ("blocks", "bands", "start"), [(0, 2, "noise"), (2, 3, "identity"), (1, 3, "residual")]
)
def test_generator_equals_the_plain_one(blocks, bands, start):
    layers = generator_layers(3, bands, width=4, blocks=blocks, upsample="transposed")
    ours = Generator(layers, start).double()
    theirs = plain.Generator(3, bands, width=4, blocks=blocks, start=start).double()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        q.data.copy_(p.data)
    x = torch.randn(3, 3, 20, 28, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_discriminator_equals_the_plain_one():
    ours, theirs = (
        Discriminator(discriminator_layers(3, width=4, layers=3)).double(),
        plain.Discriminator(3, 4).double(),
    )
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        q.data.copy_(p.data)
    x = torch.randn(2, 3, 40, 48, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_resize_convolution_against_numpy():
    """Nearest neighbour twice, mirrored border, 3x3 correlation, all by hand."""
    layer = generator_layers(1, 1, width=2, blocks=0, upsample="resize")[-3]
    up = Upsampling(replace(layer, norm=False, leak=None)).double()
    x = torch.randn(1, 8, 5, 6, dtype=torch.float64)
    large = np.pad(x[0].numpy().repeat(2, 1).repeat(2, 2), ((0, 0), (1, 1), (1, 1)), "reflect")
    kernel = up.conv.weight.detach().numpy()
    expected = np.zeros((4, 10, 12))
    for i in range(10):
        for j in range(12):
            patch = large[:, i : i + 3, j : j + 3]
            expected[:, i, j] = (kernel * patch).sum((1, 2, 3))
    expected += up.conv.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(up(x)[0].detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_instance_norm_against_numpy():
    x = 3 + 5 * torch.randn(3, 4, 6, 7, dtype=torch.float64)
    a = x.numpy()
    mean, var = a.mean((2, 3), keepdims=True), a.var((2, 3), keepdims=True)
    expected = (a - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(instance_norm(x).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_instance_norm_sums_in_fp32_for_bf16():
    # In bf16, a sum of 4096 values of about 100 would stop growing.
    x = (100 + torch.randn(1, 1, 64, 64)).bfloat16()
    expected = F.instance_norm(x.double())
    assert (instance_norm(x).double() - expected).abs().max() < 0.02


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_one_forward_of_two_images_is_two_forwards(upsample):
    """So two inputs may share a forward: instance norm treats images independently."""
    generator = Generator(generator_layers(3, 3, width=4, blocks=2, upsample=upsample)).double()
    x, y = torch.randn(2, 2, 3, 16, 16, dtype=torch.float64)
    both = generator(torch.cat([x, y]))
    torch.testing.assert_close(
        both, torch.cat([generator(x), generator(y)]), rtol=1e-12, atol=1e-12
    )


def test_outputs_are_fp32_under_bf16():
    generator = Generator(generator_layers(3, 3, width=4, blocks=1, upsample="resize"))
    discriminator = Discriminator(discriminator_layers(3, width=4, layers=2))
    with torch.autocast("cpu", torch.bfloat16):
        fake = generator(torch.randn(1, 3, 16, 16))
        assert fake.dtype == discriminator(fake).dtype == torch.float32
