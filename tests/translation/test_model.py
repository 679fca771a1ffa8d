"""Loading a model, and translating single images of every kind and size."""

import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import unpaired
from small_images import noise
from unpaired import checkpoint
from unpaired.engines.architecture import generator_layers
from unpaired.errors import CheckpointError, ConfigError, ImageError, RunError, TooLarge
from unpaired.images.formats import read_image
from unpaired.images.image import Image
from unpaired.translation import model as model_module
from unpaired.translation.model import load

SIZES = [(1, 1), (1, 7), (5, 3), (8, 8), (9, 8), (33, 47)]


# ---- loading ------------------------------------------------------------------------------------


def test_a_run_folder_and_its_model_file(inverters, model_file, tmp_path):
    path = model_file()
    for given_path in (tmp_path, path, str(path)):
        model = unpaired.load(given_path, device="cpu", threads=3)
        assert (model.name_a, model.name_b, model.step) == ("summer", "winter", 12)
        assert model.directions == ("ab", "ba")
        assert model.weights == "last"
        assert model.config.recipe.preset == "tiny"
        assert (inverters[-1].runtime.device, inverters[-1].runtime.threads) == ("cpu", 3)
        assert set(inverters[-1].loaded) == {
            "generator_ab.stem.weight",
            "generator_ba.stem.weight",
        }


def test_of_a_checkpoint_the_ema_is_taken(inverters, model_file):
    arrays = {
        f"{prefix}{name}.w": np.full(2, value, np.float32)
        for prefix, value in (("", 1), ("ema.", 2), ("moment1.", 3))
        for name in ("generator_ab", "generator_ba")
    } | {"discriminator_a.w": np.zeros(1), "pool_a": np.zeros(4)}
    model = load(model_file(arrays=arrays, kind="checkpoint"))
    assert model.weights == "ema"
    assert {name: array[0] for name, array in inverters[-1].loaded.items()} == {
        "generator_ab.w": 2,
        "generator_ba.w": 2,
    }


def test_of_a_checkpoint_without_ema_the_last_weights_are_taken(inverters, model_file):
    arrays = {"generator_ab.w": np.ones(2), "moment2.generator_ab.w": np.zeros(2)}
    model = load(model_file(arrays=arrays, kind="checkpoint"))
    assert model.weights == "last"
    assert set(inverters[-1].loaded) == {"generator_ab.w"}


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_weights_that_no_training_gives_are_rejected(inverters, model_file, value):
    arrays = {"generator_ab.w": np.ones(3, np.float32), "generator_ba.w": np.float32([1, value])}
    with pytest.raises(CheckpointError, match=r"cannot be used: generator_ba\.w holds "):
        load(model_file(arrays=arrays))
    assert inverters == []


def test_a_recipe_beyond_its_weights_is_rejected_before_anything_is_built(inverters, model_file):
    with pytest.raises(CheckpointError, match="does not fit the recipe: its networks have"):
        load(model_file(width=4096, blocks=1000))
    assert inverters == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_results_that_are_no_numbers_fail(model, inverters, monkeypatch, value):
    usual = inverters[-1].translate

    def broken(images, direction):
        result = usual(images, direction)
        result[0, 3, 4, 1] = value
        return result

    monkeypatch.setattr(inverters[-1], "translate", broken)
    with pytest.raises(ImageError, match="give NaN or infinity for it"):
        model.translate(np.zeros((9, 8, 3), np.uint8), to="b")


def test_files_that_are_not_models_are_rejected(inverters, model_file, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load(tmp_path / "nothing.safetensors")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load(tmp_path)
    model_file(kind="checkpoint", path=checkpoint.checkpoint_path(tmp_path, 40))
    with pytest.raises(CheckpointError, match=r"step-00000040\.safetensors"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="holds no generator"):
        load(model_file(arrays={"discriminator_a.w": np.zeros(1)}))


@pytest.mark.parametrize("closed", ["parent", "run", "file"])
def test_a_model_that_may_not_be_read(inverters, model_file, tmp_path, closed, unprivileged):
    run = tmp_path / "parent/run"
    run.mkdir(parents=True)
    path = model_file(path=run / "model.safetensors")
    {"parent": run.parent, "run": run, "file": path}[closed].chmod(0)
    with unprivileged():
        for given_path in (run, path):
            with pytest.raises(RunError, match=r"^cannot read .*: permission denied$") as caught:
                load(given_path)
            assert str(run) in str(caught.value)
    run.parent.chmod(0o700)
    run.chmod(0o700)


def test_a_domain_is_named_by_its_name_or_by_its_letter(inverters, model_file):
    model = load(model_file())
    assert [model.direction(to) for to in ("winter", "b", "summer", "a")] == [
        "ab",
        "ab",
        "ba",
        "ba",
    ]
    with pytest.raises(ConfigError, match=r"'autumn'.*summer \(a\) or winter \(b\)"):
        model.translate(noise(8, 8, 3), to="autumn")


def test_a_and_b_always_mean_the_sides(inverters, model_file):
    model = load(model_file(name_a="a", name_b="b"))
    assert (model.direction("a"), model.direction("b")) == ("ba", "ab")


def test_a_model_of_one_direction_says_so(inverters, model_file):
    model = load(model_file(arrays={"generator_ba.w": np.zeros(1)}))
    assert model.directions == ("ba",)
    model.translate(noise(8, 8, 3), to="summer")
    with pytest.raises(
        ConfigError, match=r"has one direction.*generator_ba translates to summer, not to winter"
    ):
        model.translate(noise(8, 8, 3), to="winter")


# ---- sizes and kinds ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_every_size_comes_back(inverters, model_file, size):
    image = noise(*size, 3)
    result = load(model_file()).translate(image, to="winter")
    np.testing.assert_array_equal(result, 255 - image)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    wide=st.booleans(),
    working_size=st.one_of(st.none(), st.integers(8, 48)),
)
def test_any_size_depth_and_working_size(inverters, model_file, height, width, wide, working_size):
    depth = 16 if wide else 8
    model = load(model_file(depth_b=depth))
    image = noise(height, width, 3)
    result = model.translate(image, to="b", working_size=working_size)
    assert result.shape == (height, width, 3)
    assert result.dtype == (np.uint16 if wide else np.uint8)
    longer = working_size or max(height, width)
    assert max(inverters[-1].shapes[-1][1:3]) == max(-(-longer // 4) * 4, 8)
    if working_size is None:
        np.testing.assert_array_equal(
            result, (255 - image).astype(result.dtype) * (257 if wide else 1)
        )


def mirrored(index: int, length: int) -> int:
    """The index that a pixel past the edge mirrors, the edges not repeated."""
    if length == 1:
        return 0
    index %= 2 * (length - 1)
    return min(index, 2 * (length - 1) - index)


@pytest.mark.parametrize("size", SIZES)
def test_the_network_sees_the_image_mirrored_right_and_below(
    inverters, model_file, monkeypatch, size
):
    seen = []
    model = load(model_file())
    monkeypatch.setattr(inverters[-1], "translate", lambda x, way: seen.append(x) or x)
    image = noise(*size, 3)
    model.translate(image, to="b")
    height, width = (max(-(-side // 4) * 4, 8) for side in size)
    rows = [mirrored(y, size[0]) for y in range(height)]
    columns = [mirrored(x, size[1]) for x in range(width)]
    expected = image[rows][:, columns] / 127.5 - 1
    np.testing.assert_allclose(seen[0][0], expected, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_translates_as_the_torch_network_does_by_hand(model_file, size):
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.networks import Generator

    torch.manual_seed(5)
    networks = {
        "ab": Generator(generator_layers(3, 1, width=4, blocks=1, upsample="resize")),
        "ba": Generator(generator_layers(1, 3, width=4, blocks=1, upsample="resize")),
    }
    arrays = {
        f"generator_{way}.{name}": tensor.numpy().copy(order="C")
        for way, network in networks.items()
        for name, tensor in network.state_dict().items()
    }
    path = model_file(arrays=arrays, width=4, blocks=1, bands_b=1, depth_b=16)
    model = load(path, device="cpu", threads=1)
    image = noise(*size, 3)
    result = model.translate(image, to="winter")
    height, width = (max(-(-side // 4) * 4, 8) for side in size)
    padded = image[[mirrored(y, size[0]) for y in range(height)]]
    padded = padded[:, [mirrored(x, size[1]) for x in range(width)]]
    with torch.no_grad():
        tensor = torch.tensor(padded.transpose(2, 0, 1)[None] / 127.5 - 1, dtype=torch.float32)
        by_hand = networks["ab"](tensor)[0].numpy().transpose(1, 2, 0)[: size[0], : size[1]]
    assert result.dtype == np.uint16
    assert result.shape == (*size, 1)
    if size != (1, 1):  # flat, and a norm of flat channels is rounding over rounding
        assert np.ptp(by_hand) > 0.05  # there is something to compare
        np.testing.assert_allclose(result / 32767.5 - 1, by_hand, atol=4e-5)


def test_a_path_gives_a_pillow_image(inverters, model_file, tmp_path):
    pixels = noise(6, 9, 3)
    PIL.Image.fromarray(pixels).save(tmp_path / "x.png")
    model = load(model_file())
    for path in (tmp_path / "x.png", str(tmp_path / "x.png")):
        result = model.translate(path, to="winter")
        assert isinstance(result, PIL.Image.Image)
        assert result.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(result), 255 - pixels)


def test_a_path_is_held_to_a_limit_that_can_be_raised(inverters, model_file, tmp_path):
    pixels = noise(6, 9, 3)
    PIL.Image.fromarray(pixels).save(path := tmp_path / "x.png")
    model = load(model_file())
    with pytest.raises(TooLarge, match=r"9 x 6 pixels are over the limit of 53"):
        model.translate(path, to="b", max_pixels=53)
    assert inverters[-1].shapes == []
    np.testing.assert_array_equal(model.translate(path, to="b", max_pixels=54), 255 - pixels)
    image = PIL.Image.fromarray(pixels)
    np.testing.assert_array_equal(model.translate(image, to="b", max_pixels=1), 255 - pixels)


def test_a_pillow_image_gives_one(inverters, model_file):
    pixels = noise(6, 9, 1)[:, :, 0]
    result = load(model_file(bands_a=1, bands_b=1, depth_b=16)).translate(
        PIL.Image.fromarray(pixels), to="b"
    )
    assert result.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(result), (255 - pixels.astype(np.uint16)) * 257)


def test_grey_arrays_keep_their_two_axes(inverters, model_file):
    model = load(model_file(bands_a=1, bands_b=1))
    assert model.translate(noise(6, 9, 1)[:, :, 0], to="b").shape == (6, 9)
    assert model.translate(noise(6, 9, 1), to="b").shape == (6, 9, 1)
    assert load(model_file(bands_a=1)).translate(noise(6, 9, 1)[:, :, 0], to="b").shape == (6, 9, 3)


def test_16_bits_are_not_cut_to_8(inverters, model_file):
    image = noise(5, 7, 3, dtype=np.uint16)
    result = load(model_file(depth_a=16, depth_b=16)).translate(image, to="a")
    np.testing.assert_array_equal(result, 65535 - image)


def test_grey_becomes_colour_where_the_domain_has_colour(inverters, model_file):
    image = noise(5, 7, 1)[:, :, 0]
    result = load(model_file()).translate(image, to="b")
    np.testing.assert_array_equal(result, np.dstack([255 - image] * 3))


def test_colour_becomes_grey_where_the_domain_is_grey(inverters, model_file):
    image = noise(5, 7, 3)
    result = load(model_file(bands_a=1, bands_b=1)).translate(image, to="b")
    grey = image @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(result[:, :, 0], 255 - grey, atol=1)


def test_other_bands_are_rejected(inverters, model_file):
    model = load(model_file(bands_a=5))
    with pytest.raises(ImageError, match="has 3 bands where summer has 5"):
        model.translate(noise(8, 8, 3), to="b")
    assert model.translate(noise(8, 8, 5), to="b").shape == (8, 8, 3)
    with pytest.raises(ImageError, match="has 4 bands where winter has 3"):
        model.translate(noise(8, 8, 4), to="a")


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8)],
    ids=["float", "flat", "empty"],
)
def test_arrays_that_are_not_images_are_rejected(inverters, model_file, array):
    with pytest.raises(ImageError, match="is not an image"):
        load(model_file()).translate(array, to="b")


def test_what_pillow_cannot_hold_is_rejected_before_the_work(inverters, model_file):
    model = load(model_file(depth_b=16))
    with pytest.raises(ImageError, match="use the array"):
        model.translate(PIL.Image.new("RGB", (8, 8)), to="b")
    assert inverters[-1].shapes == []


def test_transparency_is_laid_over_white_and_given_back(inverters, model_file):
    pixels = noise(6, 7, 4)
    alpha = pixels[:, :, 3]
    result = load(model_file()).translate(PIL.Image.fromarray(pixels), to="b")
    assert result.mode == "RGBA"
    shown = np.asarray(result).astype(float)
    np.testing.assert_array_equal(shown[:, :, 3], alpha)
    weight = alpha[:, :, None] / 255
    np.testing.assert_allclose(
        shown[:, :, :3], 255 - (pixels[:, :, :3] * weight + 255 * (1 - weight)), atol=1
    )


# ---- working size -------------------------------------------------------------------------------


def test_the_working_size_is_that_of_the_longer_side(inverters, model_file):
    model = load(model_file())
    model.translate(noise(30, 60, 3), to="b", working_size=20)
    model.translate(noise(60, 30, 3), to="b", working_size=20)
    model.translate(noise(10, 5, 3), to="b", working_size=40)
    model.translate(noise(1, 60, 3), to="b", working_size=20)
    assert [shape[1:3] for shape in inverters[-1].shapes] == [(12, 20), (20, 12), (40, 20), (8, 20)]
    with pytest.raises(ConfigError, match="--working-size is 7"):
        model.translate(noise(8, 8, 3), to="b", working_size=7)


def test_scaling_is_bicubic_with_antialiasing(inverters, model_file):
    rows, columns = np.mgrid[:64, :48]
    smooth = (120 + 60 * np.sin(rows / 9) + 50 * np.cos(columns / 8))[:, :, None]
    smooth = np.repeat(smooth, 3, axis=2).astype(np.uint8)
    result = load(model_file()).translate(smooth, to="b", working_size=32)
    there = PIL.Image.fromarray(smooth).resize((24, 32), PIL.Image.Resampling.BICUBIC)
    back = np.asarray(there.resize((48, 64), PIL.Image.Resampling.BICUBIC))
    np.testing.assert_allclose(result, 255.0 - back, atol=2)
    checks = (np.indices((64, 48)).sum(0) % 2 * 255).astype(np.uint8)  # grey if averaged
    flat = load(model_file()).translate(checks, to="b", working_size=32)
    assert np.ptp(flat[8:-8, 8:-8]) < 40


# ---- many ---------------------------------------------------------------------------------------


def test_images_of_one_size_share_a_batch(inverters, model_file):
    model = load(model_file())
    sizes = [(8, 8), (16, 8), (7, 5), (8, 8), (15, 8), (8, 7)]
    images = [Image(noise(*size, 3, seed=k)) for k, size in enumerate(sizes)]
    results = model.translate_many(images, "ab", batch_size=3)
    assert inverters[-1].shapes == [(3, 8, 8, 3), (1, 8, 8, 3), (2, 16, 8, 3)]
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.pixels, 255 - image.pixels)
    assert model.translate_many([], "ab") == []


def test_large_images_go_alone_on_a_cpu(inverters, model_file):
    images = [Image(noise(256, 260, 3))] * 2 + [Image(noise(128, 256, 3))] * 3
    load(model_file()).translate_many(images, "ab", batch_size=8)
    assert [shape[0] for shape in inverters[-1].shapes] == [1, 1, 2, 1]


def test_a_batch_shrinks_where_memory_is_short(inverters, model_file, monkeypatch):
    monkeypatch.setattr(model_module.memory, "fits", lambda needed: needed < 130e6)
    images = [Image(noise(64, 64, 3))] * 8
    load(model_file(width=64)).translate_many(images, "ab", batch_size=8)
    assert 1 < inverters[-1].shapes[0][0] < 8


def test_one_image_of_a_batch_is_what_it_is_alone(model_file):
    torch = pytest.importorskip("torch")
    from unpaired.engines.torch.networks import Generator

    torch.manual_seed(6)
    network = Generator(generator_layers(3, 3, width=4, blocks=1, upsample="resize"))
    arrays = {
        f"generator_ba.{name}": tensor.numpy().copy(order="C")
        for name, tensor in network.state_dict().items()
    }
    model = load(model_file(arrays=arrays, width=4, blocks=1), device="cpu", threads=1)
    images = [Image(noise(9, 13, 3, seed=k)) for k in range(4)]
    together = model.translate_many(images, "ba")
    for image, result in zip(images, together, strict=True):
        (alone,) = model.translate_many([image], "ba")
        np.testing.assert_allclose(result.pixels, alone.pixels.astype(float), atol=1)


# ---- memory -------------------------------------------------------------------------------------


def test_a_path_is_rejected_by_its_header_alone(inverters, model_file, tmp_path, monkeypatch):
    monkeypatch.setattr(model_module.memory, "free", lambda: 3_000_000_000)
    monkeypatch.setattr(model_module, "read_image", lambda *a, **k: pytest.fail("it was decoded"))
    PIL.Image.new("L", (9000, 6000)).save(path := tmp_path / "large.png")
    with pytest.raises(TooLarge, match=r"9000 x 6000 pixels need about \d+\.\d GB") as caught:
        load(model_file()).translate(path, to="b", detail="none")
    assert str(caught.value).startswith(f"{path}: ")
    assert "3.0 GB are free" in str(caught.value)
    advised = int(re.search(r"--working-size (\d+)", str(caught.value))[1])
    load(model_file()).check("ab", (6000, 9000), 3, working_size=advised)
    with pytest.raises(TooLarge):
        load(model_file()).check("ab", (6000, 9000), 3, working_size=advised * 3 // 2)


def test_where_no_working_size_helps_none_is_advised(inverters, model_file, monkeypatch):
    monkeypatch.setattr(model_module.memory, "free", lambda: 200_000_000)
    with pytest.raises(TooLarge, match="cut the image"):
        load(model_file()).check("ab", (6000, 9000), 3, name="x.png")


def test_an_engines_lack_of_memory_is_passed_on(inverters, model_file):
    model = load(model_file())
    inverters[-1].error = TooLarge("the device has too little memory")
    with pytest.raises(TooLarge, match="the device has too little memory"):
        model.translate(noise(5, 12, 3), to="b")


def test_other_errors_of_a_framework_are_not_hidden(inverters, model_file):
    model = load(model_file())
    inverters[-1].error = RuntimeError("shapes do not agree")
    with pytest.raises(RuntimeError, match="shapes"):
        model.translate(noise(5, 12, 3), to="b")


def test_translated_emojis_come_back_in_their_size(inverters, model_file):
    folder = Path(__file__).parents[2].parent / "shared" / "data" / "emojis"
    paths = sorted(folder.rglob("*.png"))[:5]
    if not paths:
        pytest.skip("no folder shared/data/emojis beside the checkout")
    model = load(model_file())
    for path in paths:
        image = read_image(path)
        result = model.translate(path, to="b")
        assert (result.height, result.width) == image.size
        assert (result.mode == "RGBA") == (image.alpha is not None)
