"""Feature networks and LPIPS, against networks restated in float64 from other parts."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unpaired.errors import CheckpointError, ConfigError, DataError, MissingExtra, UnpairedError
from unpaired.features.choice import make_features, make_lpips
from unpaired.features.extract import extract
from unpaired.images.resize import resize
from unpaired.weights import torch_pth

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS = SHARED / "weights"

needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="shared/weights is not here")


@pytest.fixture(autouse=True)
def one_thread():
    torch.manual_seed(0)
    torch.set_num_threads(1)


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# ---- the networks, restated ---------------------------------------------------------------


def alexnet():
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
    )  # fmt: skip


def vgg16():
    layers, inner = [], 3
    for row in ([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3):
        for outer in row:
            layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU()]
            inner = outer
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers[:-1])


def plain_features(network, images):
    """ImageNet's mean and deviation on [0, 1], the last activation, the mean of its positions."""
    x = torch.from_numpy(resize(images, (224, 224), (0, 255))).double().permute(0, 3, 1, 2) / 255
    mean, deviation = (
        torch.tensor(z).double().reshape(3, 1, 1)
        for z in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    with torch.no_grad():
        return network.double()((x - mean) / deviation).flatten(2).mean(-1).numpy()


def write(path, network, prefix="features."):
    save_file({prefix + name: value for name, value in network.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    ("make", "name", "width"), [(alexnet, "AlexNet conv5", 256), (vgg16, "VGG16 conv5_3", 512)]
)
def test_alexnet_and_vgg16_equal_plain_networks(tmp_path, make, name, width):
    plain = make()
    images = noise(0, 1, 64, 64, 3)
    network = make_features(write(tmp_path / "weights.safetensors", plain), "cpu", 1)
    assert network.name == f"{name}, 224 px bicubic antialiased"
    assert network.width == width
    found = network.features(images)
    assert found.shape == (1, width)
    assert found.dtype == np.float32
    expected = plain_features(plain, images)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


class LiteBlock(nn.Module):
    """As the file names its parts; norms by themselves."""

    def __init__(self, inner, outer, kernel, stride, expansion):
        super().__init__()
        middle = inner * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(inner, middle, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(middle, eps=1e-3)
        self._depthwise_conv = nn.Conv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        self._bn1 = nn.BatchNorm2d(middle, eps=1e-3)
        self._project_conv = nn.Conv2d(middle, outer, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(outer, eps=1e-3)
        self.residual = stride == 1 and inner == outer

    def forward(self, x):
        y = x
        if hasattr(self, "_expand_conv"):
            y = nn.functional.hardtanh(self._bn0(self._expand_conv(y)), 0, 6)
        y = nn.functional.hardtanh(self._bn1(padded(self._depthwise_conv, y)), 0, 6)
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


def padded(convolution, x):
    """TensorFlow's border for even sizes: stride 2 has the odd pixel right and below."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return convolution(nn.functional.pad(x, (before, after, before, after)))


class Lite0(nn.Module):
    def __init__(self):
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        plan = [
            (32, 16, 3, 1, 1),
            (16, 24, 3, 2, 6), (24, 24, 3, 1, 6),
            (24, 40, 5, 2, 6), (40, 40, 5, 1, 6),
            (40, 80, 3, 2, 6), (80, 80, 3, 1, 6), (80, 80, 3, 1, 6),
            (80, 112, 5, 1, 6), (112, 112, 5, 1, 6), (112, 112, 5, 1, 6),
            (112, 192, 5, 2, 6), (192, 192, 5, 1, 6), (192, 192, 5, 1, 6), (192, 192, 5, 1, 6),
            (192, 320, 3, 1, 6),
        ]  # fmt: skip
        self._blocks = nn.Sequential(*(LiteBlock(*row) for row in plan))
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images):
        x = torch.from_numpy(resize(images, (224, 224), (0, 255))).double().permute(0, 3, 1, 2)
        x = nn.functional.hardtanh(self._bn0(padded(self._conv_stem, (x - 127) / 128)), 0, 6)
        x = self._conv_head(self._blocks(x))
        return nn.functional.hardtanh(self._bn1(x), 0, 6).flatten(2).mean(-1)


def plain_lite0():
    """Random weights, and norms that do something."""
    network = Lite0()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 1.0)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.05, 0.4)
    return network.double().eval()


def test_efficientnet_lite0_equals_a_plain_network(tmp_path):
    plain, images = plain_lite0(), noise(0, 2, 50, 70, 3)
    network = make_features(write(tmp_path / "lite0.safetensors", plain, ""), "cpu", 1)
    assert (network.name, network.width) == (
        "EfficientNet-Lite0 head, 224 px bicubic antialiased",
        1280,
    )
    with torch.no_grad():
        expected = plain(images).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(network.features(images), expected, atol=1e-4)


@needs_weights
def test_efficientnet_lite0_from_its_own_file():
    plain = Lite0().double().eval()
    plain.load_state_dict(torch_pth.read_pth(WEIGHTS / "efficientnet_lite0.pth"))
    network = make_features(WEIGHTS / "efficientnet_lite0.pth", "cpu", 1)
    images = noise(0, 1, 64, 64, 3)
    with torch.no_grad():
        expected = plain(images).numpy()
    np.testing.assert_allclose(network.features(images), expected, atol=1e-4)


@pytest.mark.skipif(
    not (SHARED / "data" / "summer2winter_yosemite").is_dir(),
    reason="shared/data/summer2winter_yosemite is not here",
)
@needs_weights
def test_efficientnet_lite0_sees_mountains():
    """With the classifier of the file: alp, cliff, lakeside, ..., valley are 970 to 980."""
    weights = torch_pth.read_pth(WEIGHTS / "efficientnet_lite0.pth")
    network = make_features(WEIGHTS / "efficientnet_lite0.pth", "cpu", 1)
    files = sorted((SHARED / "data" / "summer2winter_yosemite" / "testA").iterdir())[:10]
    vectors = extract(network, (np.asarray(PIL.Image.open(path)) for path in files))
    classes = (vectors @ weights["_fc.weight"].numpy().T + weights["_fc.bias"].numpy()).argmax(1)
    assert np.sum((classes >= 970) & (classes <= 980)) >= 9


def test_the_features_of_an_image_do_not_depend_on_the_others(tmp_path):
    network = make_features(write(tmp_path / "a.safetensors", alexnet()), "cpu", 1)
    images = noise(0, 5, 40, 40, 3)
    together = network.features(images)
    alone = np.concatenate([network.features(images[i : i + 1]) for i in range(5)])
    np.testing.assert_array_equal(together, alone)


# ---- files --------------------------------------------------------------------------------


def test_pth_and_safetensors_and_half_precision_are_the_same_network(tmp_path):
    plain = alexnet()
    tensors = {f"features.{name}": value.half() for name, value in plain.state_dict().items()}
    tensors["classifier.1.weight"] = torch.zeros(3, 3)
    (tmp_path / "w.pth").write_bytes(
        torch_pth.dump({name: value.numpy() for name, value in tensors.items()})
    )
    save_file(tensors, tmp_path / "w.safetensors")
    images = noise(0, 1, 64, 64, 3)
    first, second = (
        make_features(tmp_path / name, "cpu", 1).features(images)
        for name in ("w.pth", "w.safetensors")
    )
    np.testing.assert_array_equal(first, second)


def test_a_file_of_another_network_says_what_was_found(tmp_path):
    save_file({"layer1.0.conv1.weight": torch.zeros(2)}, tmp_path / "resnet.safetensors")
    with pytest.raises(
        CheckpointError, match=r"resnet.*1 tensor \(first 'layer1\.0\.conv1\.weight'\)"
    ):
        make_features(tmp_path / "resnet.safetensors", "cpu", 1)


@pytest.mark.parametrize("make", [alexnet, plain_lite0])
def test_a_tensor_of_another_shape_is_named(tmp_path, make):
    prefix = "" if make is plain_lite0 else "features."
    tensors = {prefix + name: value for name, value in make().state_dict().items()}
    name = next(key for key in tensors if key.endswith("weight") and tensors[key].ndim == 4)
    save_file({**tensors, name: torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=rf"{name} has shape \(2, 2\), expected"):
        make_features(tmp_path / "w.safetensors", "cpu", 1)


def test_a_missing_tensor_is_named(tmp_path):
    tensors = dict(plain_lite0().state_dict())
    del tensors["_blocks.3._bn1.running_var"]
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"_blocks\.3\._bn1\.running_var is missing"):
        make_features(tmp_path / "w.safetensors", "cpu", 1)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_a_damaged_or_absent_file_is_one_line(tmp_path, name):
    with pytest.raises(UnpairedError, match=name) as absent:
        make_features(tmp_path / name, "cpu", 1)
    (tmp_path / name).write_bytes(b"not weights at all")
    with pytest.raises(CheckpointError, match=name) as damaged:
        make_features(tmp_path / name, "cpu", 1)
    assert all("\n" not in str(error.value) for error in (absent, damaged))


def test_an_absent_device(tmp_path):
    path = write(tmp_path / "a.safetensors", alexnet())
    with pytest.raises(ConfigError, match="--device"):
        make_features(path, "hpu:9", 1)


# ---- LPIPS --------------------------------------------------------------------------------


def image(name):
    return np.asarray(PIL.Image.open(WEIGHTS / "lpips_check" / f"{name}.png").convert("RGB"))


@needs_weights
def test_lpips_of_the_published_pair():
    lpips = make_lpips(
        WEIGHTS / "alexnet_features.safetensors",
        WEIGHTS / "lpips_alexnet_heads.safetensors",
        "cpu",
        1,
    )
    assert lpips.name == "LPIPS 0.1, AlexNet"
    x = np.stack([image("ex_ref")] * 3)
    y = np.stack([image(name) for name in ("ex_p0", "ex_p1", "ex_ref")])
    found = lpips.distance(x, y)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [0.722, 0.138, 0], atol=0.0005)
    np.testing.assert_allclose(lpips.distance(y, x), found, atol=1e-6)


@pytest.fixture
def random_lpips(tmp_path):
    plain = alexnet()
    heads = {
        f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1)
        for i, n in enumerate((64, 192, 384, 256, 256))
    }
    save_file(heads, tmp_path / "heads.safetensors")
    features = write(tmp_path / "features.safetensors", plain)
    return make_lpips(features, tmp_path / "heads.safetensors", "cpu", 1), plain, heads


@pytest.mark.parametrize("shape", [(2, 64, 48, 3), (1, 31, 31, 3)])
def test_lpips_is_its_definition(random_lpips, shape):
    lpips, plain, heads = random_lpips
    x, y = noise(0, *shape), noise(1, *shape)

    def activations(images):
        z = torch.from_numpy(images.copy()).double().permute(0, 3, 1, 2) / 255 * 2 - 1
        shift, scale = torch.tensor([[-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]]).double()
        z = (z - shift[:, None, None]) / scale[:, None, None]
        kept = []
        for layer in plain.double():
            z = layer(z)
            if isinstance(layer, nn.ReLU):
                kept.append(nn.functional.normalize(z, dim=1))
        return kept

    with torch.no_grad():
        expected = sum(
            ((a - b) ** 2 * head.double()).sum(dim=1).mean(dim=(1, 2))
            for a, b, head in zip(activations(x), activations(y), heads.values(), strict=True)
        )
    np.testing.assert_allclose(lpips.distance(x, y), expected.numpy(), rtol=1e-4)


def test_what_lpips_cannot_compare(random_lpips, tmp_path):
    lpips, _, _ = random_lpips
    for x, y in (
        (noise(0, 1, 30, 64, 3), noise(1, 1, 30, 64, 3)),
        (noise(0, 1, 64, 64, 3), noise(1, 1, 64, 63, 3)),
        (noise(0, 1, 64, 64, 1), noise(1, 1, 64, 64, 1)),
    ):
        with pytest.raises(DataError, match="LPIPS needs pairs"):
            lpips.distance(x, y)
    features = tmp_path / "features.safetensors"
    with pytest.raises(CheckpointError, match=r"lin0\.model\.1\.weight is missing"):
        make_lpips(features, features, "cpu", 1)
    assert "features.0.weight" in load_file(features)


# ---- Inception through torch-fidelity, for which there is a stand-in ----------------------


@pytest.fixture
def fidelity(monkeypatch):
    """A module with the one class of torch-fidelity that is used, as strict as the true one."""

    class FeatureExtractorInceptionV3(nn.Module):
        def __init__(self, name, features_list, feature_extractor_weights_path=None):
            super().__init__()
            assert isinstance(name, str)
            assert features_list == ["2048"]

        def forward(self, x):
            assert x.dtype == torch.uint8
            assert x.ndim == 4
            assert x.shape[1:] == (3, 299, 299)
            return (x.double().mean(dim=(2, 3)).repeat(1, 683)[:, :2048].float(),)

    module = ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)
    return module


def test_inception_through_torch_fidelity(fidelity):
    network = make_features(None, "cpu", 1)
    assert network.name.startswith("Inception-v3 pool3 (torch-fidelity), 299 px")
    assert network.width == 2048
    images = np.broadcast_to(noise(0, 3, 1, 1, 3), (3, 20, 30, 3))
    found = extract(network, [images])
    assert found.shape == (3, 2048)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, :3], images[:, 0, 0], atol=1e-4)


def test_inception_without_its_weights(fidelity, monkeypatch):
    def no_network(*arguments):
        raise OSError("<urlopen error: no route to host>")

    monkeypatch.setattr(fidelity, "FeatureExtractorInceptionV3", no_network)
    with pytest.raises(CheckpointError, match="no route to host"):
        make_features(None, "cpu", 1)


@pytest.mark.parametrize("package", ["torch_fidelity", "torchvision"])
def test_inception_without_torch_fidelity(monkeypatch, package):
    if package == "torch_fidelity":
        monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    else:
        from unpaired.features import fidelity

        def broken(device, threads):
            raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

        monkeypatch.setattr(fidelity, "InceptionFeatures", broken)
    with pytest.raises(MissingExtra, match=r"torch-fidelity.*unpaired\[fid\]"):
        make_features(None, "cpu", 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: make_features(path, "cpu", 1),
        lambda path: make_features(None, "cpu", 1),
        lambda path: make_lpips(path, path, "cpu", 1),
    ],
)
def test_without_pytorch(monkeypatch, tmp_path, make):
    for name in list(sys.modules):  # which would be imported without importing PyTorch
        if re.fullmatch(r"unpaired\.(engines\.torch|features|weights)\.\w+", name):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"needs torch.*unpaired\[torch\]"):
        make(tmp_path / "weights.safetensors")
