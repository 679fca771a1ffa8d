"""Fine-tuning: `--init` takes what there is, says what is fresh, and is settled in the run."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import unpaired.training.loop as loop
from conftest import QUICK, SMALL, write_images
from training.test_resume import assert_equal_runs, interrupt_after, train
from unpaired.checkpoint import checkpoints, read, write
from unpaired.cli.main import main
from unpaired.config import Config, Runtime, override
from unpaired.engines.choice import make_engine, make_translator
from unpaired.engines.seam import initial_state
from unpaired.errors import CheckpointError, ConfigError, Interrupted, RunError
from unpaired.presets import preset
from unpaired.weights.init import InitModel, begin_from, read_init

BEFORE = {"steps": 6}
SHORT = {"runtime": {"report": "none"}}


@pytest.fixture(params=["torch", "jax"])
def engine(request, monkeypatch):
    """The engine of the fine-tuning; what it starts from is of PyTorch."""
    pytest.importorskip(request.param, reason=f"the {request.param} engine is not installed")
    monkeypatch.setattr(
        loop, "make_engine", lambda recipe, how: make_engine(recipe, replace(how, engine=name))
    )
    name = request.param
    return name


@pytest.fixture
def before(tmp_path, data):
    """A run to start from, of 6 steps."""
    pytest.importorskip("torch", reason="the torch engine is not installed")
    return train(data, tmp_path / "before", recipe=BEFORE, **SHORT).folder


@pytest.fixture
def new(tmp_path):
    """Other images, of domains with names."""
    for seed, (name, count) in enumerate({"day": 5, "night": 6}.items(), start=31):
        write_images(tmp_path / "new" / name, count, seed, size=(20, 16))
    return tmp_path / "new" / "day", tmp_path / "new" / "night"


def first_state(folder):
    """The state of step 0, which is written before any step."""
    return read(folder / "checkpoints" / "step-00000000.safetensors")


def stop_at_once(new, out, monkeypatch, **how):
    """Creates a run and stops it after its first step."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(Interrupted):
            train(new, out, **how | SHORT)
    return first_state(out)


def test_a_run_gives_networks_moments_average_and_updates(
    before, new, tmp_path, monkeypatch, shown
):
    header, arrays = stop_at_once(new, tmp_path / "run", monkeypatch, init=before)
    _, old = read(checkpoints(before)[-1])
    assert arrays.keys() == old.keys()
    for name, array in arrays.items():
        if name.startswith("pool_"):
            assert not array.any()  # of other images
        else:
            np.testing.assert_array_equal(array, old[name], err_msg=name)
    assert arrays["updates"] == 6
    assert header.step == 0
    assert any(array.any() for name, array in arrays.items() if name.startswith("moment2."))
    said = [line for line in shown().splitlines() if line.startswith("starting from")]
    assert len(said) == 1
    assert "before, 6 steps: generator_ab, generator_ba, discriminator_a" in said[0]
    assert "a is now day and b is now night; fresh: nothing" in said[0]


def test_it_resumes_bit_for_bit_without_the_file(before, engine, new, tmp_path, monkeypatch, shown):
    asked = {"recipe": {"steps": 8, "validation": 0.4}, "init": before}
    asked["runtime"] = {"evaluate_every": 3, "report": "none"}
    train(new, tmp_path / "one", **asked)
    _, old = read(checkpoints(before)[-1])
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(Interrupted):
            train(new, tmp_path / "parts", **asked)
    for name, array in first_state(tmp_path / "parts")[1].items():
        assert name.startswith("pool_") or np.array_equal(array, old[name]), name
    shutil.move(before, tmp_path / "gone")
    shown()
    train(new, tmp_path / "parts", **asked)
    assert "resuming without --init, whose weights the run has" in shown()
    assert_equal_runs(tmp_path / "one", tmp_path / "parts")


def test_resuming_from_other_weights_is_rejected(before, new, data, tmp_path, monkeypatch):
    stop_at_once(new, tmp_path / "run", monkeypatch, init=before)
    train(data, before, runtime={"report": "none"}, extend=2, recipe=BEFORE)
    with pytest.raises(RunError, match="started from other weights than --init has now"):
        train(new, tmp_path / "run", init=before)
    stop_at_once(new, tmp_path / "drawn", monkeypatch)
    with pytest.raises(RunError, match="started from drawn weights"):
        train(new, tmp_path / "drawn", init=before)
    again = stop_at_once(new, tmp_path / "run", monkeypatch)[0]  # without the flag it resumes
    assert again.config.recipe.init_fingerprint


def test_a_model_gives_its_generators(before, new, tmp_path, monkeypatch, shown):
    how = {"init": before / "model.safetensors"}
    header, arrays = stop_at_once(new, tmp_path / "run", monkeypatch, **how)
    _, model = read(before / "model.safetensors")
    _, old = read(checkpoints(before)[-1])
    drawn = initial_state(arrays, header.config.recipe)
    for name, array in arrays.items():
        expected = model.get(name.removeprefix("ema."), drawn[name])
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert not np.array_equal(old["generator_ab.stem.weight"], model["generator_ab.stem.weight"])
    assert arrays["updates"] == 0
    assert "fresh: discriminator_a, discriminator_b, Adam moments" in shown()


def test_a_model_of_one_direction(before, new, tmp_path, monkeypatch, shown):
    header, arrays = read(before / "model.safetensors")
    one = {name: array for name, array in arrays.items() if name.startswith("generator_ba.")}
    write(tmp_path / "one.safetensors", header, one)
    asked = {"init": tmp_path / "one.safetensors"}
    header, state = stop_at_once(new, tmp_path / "run", monkeypatch, **asked)
    drawn = initial_state(state, header.config.recipe)
    for network, expected in (("generator_ba", one), ("generator_ab", drawn)):
        name = f"{network}.blocks.0.conv1.weight"
        np.testing.assert_array_equal(state[name], expected[name])
    assert "generator_ba; a is now day and b is now night; fresh: generator_ab, disc" in shown()


def test_networks_follow_the_names_of_their_domains(before, tmp_path, monkeypatch, shown):
    """Where the data have the domains of the model in the other order, so have the networks."""
    for seed, name in enumerate(("night", "day")):
        write_images(tmp_path / "other" / name, 4, seed)
    one = train(
        (tmp_path / "other" / "day", tmp_path / "other" / "night"), tmp_path / "one",
        recipe=BEFORE, **SHORT,
    ).folder  # fmt: skip
    data = tmp_path / "other" / "night", tmp_path / "other" / "day"
    _, state = stop_at_once(data, tmp_path / "two", monkeypatch, init=one)
    _, old = read(checkpoints(one)[-1])
    pairs = {"generator_ab": "generator_ba", "discriminator_a": "discriminator_b"}
    for left, right in [*pairs.items(), *(pair[::-1] for pair in pairs.items())]:
        for prefix in ("", "moment1.", "ema."):
            for name in [n for n in state if n.startswith(f"{prefix}{left}.")]:
                np.testing.assert_array_equal(state[name], old[name.replace(left, right)])
    assert "its a and b change places, as night and day are named; fresh: nothing" in shown()


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_bands_are_averaged_so_that_grey_images_translate_as_before(norm):
    """Of 1 band and 3: an RGB image of three equal bands is translated as its grey one was."""
    old = preset("tiny", SMALL | {"bands_a": 1, "bands_b": 1, "norm": norm, "steps": 1})
    new = preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3, "norm": norm, "steps": 1})
    runtime = Runtime(threads=1)
    weights = initial_state(make_engine(old, runtime).state(), old)
    init = init_of(old, weights)
    drawn = initial_state(make_engine(new, runtime).state(), new)
    state, told = begin_from(init, drawn, new)
    translators = [make_translator(recipe, runtime) for recipe in (old, new)]
    for translator, arrays in zip(translators, (weights, state), strict=True):
        translator.load_generators({n: a for n, a in arrays.items() if n.startswith("generator")})
    grey = np.random.default_rng(3).uniform(-1, 1, (2, 16, 16, 1)).astype(np.float32)
    before = translators[0].translate(grey, "ab")
    after = translators[1].translate(grey.repeat(3, 3), "ab")
    np.testing.assert_allclose(after, before.repeat(3, 3), atol=2e-5)
    assert np.std(before) > 1e-3
    assert "averaged over its bands: generator_ab.stem.weight, generator_ab.head.weight" in told
    assert "discriminator_b.layers.0.weight" in told
    assert told.endswith("fresh: Adam moments")


def test_where_bands_begin_to_differ_a_model_that_adds_draws_its_last_layer_again():
    old = preset("tiny", SMALL | {"bands_a": 3, "bands_b": 3, "start": "identity", "steps": 1})
    runtime = Runtime(threads=1)
    weights = initial_state(make_engine(old, runtime).state(), old)
    init = init_of(old, weights)
    new = override(init.recipe("tiny", SMALL), {"bands_a": 3, "bands_b": 1}, "the data")
    assert new.start == "noise"
    drawn = initial_state(make_engine(new, runtime).state(), new)
    state, told = begin_from(init, drawn, new)
    assert state["generator_ab.head.weight"].any()  # that of the start "identity" is 0
    np.testing.assert_array_equal(
        state["generator_ab.head.weight"], drawn["generator_ab.head.weight"]
    )
    assert "generator_ab.head.weight" in told.split("fresh: ")[1]


def init_of(recipe, arrays):
    return InitModel("old", Config(recipe, Runtime()), 0, "f00d", arrays)


def test_the_architecture_is_that_of_the_model(before, tmp_path):
    """Its preset and its networks; the rest is the user's, or the preset's."""
    init = read_init(before)
    recipe = init.recipe(None, {"learning_rate": 1e-3})
    assert (recipe.preset, recipe.width, recipe.blocks) == ("tiny", 2, 1)
    assert (recipe.discriminator_width, recipe.discriminator_layers) == (2, 1)
    assert (recipe.image_size, recipe.learning_rate) == (32, 1e-3)
    small = init.recipe("small", {"start": "auto"})
    assert (small.preset, small.width, small.start) == ("small", 2, "noise")
    assert small.steps == preset("small").steps
    with pytest.raises(ConfigError, match=r"--width 64 contradicts --init .*before, whose generat"):
        init.recipe(None, {"width": 64})
    with pytest.raises(ConfigError, match="--start identity contradicts"):
        init.recipe(None, {"start": "identity"})


def test_other_discriminators_that_are_asked_for_start_fresh(
    before, new, tmp_path, monkeypatch, shown
):
    how = {"init": before, "recipe": {"discriminator_width": 3}}
    header, arrays = stop_at_once(new, tmp_path / "run", monkeypatch, **how)
    assert header.config.recipe.discriminator_width == 3
    assert arrays["discriminator_a.layers.0.weight"].shape[0] == 3
    assert "fresh: discriminator_a, discriminator_b, Adam moments" in shown()


def test_another_size_and_no_trial_of_the_start(before, new, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "choose_start", None)  # a call would fail
    how = {"init": before, "recipe": {"start": "auto", "image_size": 16, "load_size": 16}}
    header, arrays = stop_at_once(new, tmp_path / "run", monkeypatch, **how)
    assert header.config.recipe.start == "noise"
    assert arrays["pool_a"].shape[2:4] == (16, 16)
    assert arrays["updates"] == 6  # all four networks came as they are


def test_weights_of_the_authors_code(tmp_path, new, monkeypatch, shown):
    """An imported model: generators and discriminators, no moments."""
    torch = pytest.importorskip("torch")
    from authors import NLayerDiscriminator, ResnetGenerator
    from unpaired.weights.convert import import_original

    torch.manual_seed(0)
    files = []
    for name, network in {
        "G_A": ResnetGenerator(3, 3, 2, 1), "G_B": ResnetGenerator(3, 3, 2, 1),
        "D_A": NLayerDiscriminator(3, 2, 1), "D_B": NLayerDiscriminator(3, 2, 1),
    }.items():  # fmt: skip
        files.append(tmp_path / f"latest_net_{name}.pth")
        torch.save(network.state_dict(), files[-1])
    import_original(files, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="import it first"):
        train(new, tmp_path / "run", init=files[0])
    recipe = {name: SMALL[name] for name in ("load_size", "image_size", "batch_size", "ema")}
    recipe |= {"steps": 2, "pool_size": 2}
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(Interrupted):
            loop.train(
                new, out=tmp_path / "run", init=tmp_path / "model.safetensors", recipe=recipe,
                runtime=QUICK,
            )  # fmt: skip
    header, arrays = first_state(tmp_path / "run")
    theirs = read(tmp_path / "model.safetensors")[1]
    assert header.config.recipe.preset == "paper"
    assert header.config.recipe.upsample == "transposed"
    for name, array in theirs.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert "discriminator_b; a is now day and b is now night; fresh: Adam moments" in shown()


@pytest.mark.parametrize("kind", ["missing", "foreign", "empty", "unfit"])
def test_what_is_no_model_is_rejected_and_leaves_no_run(kind, before, new, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    if kind == "foreign":
        Image.new("L", (4, 4)).save(path, format="PNG")
    if kind == "empty":
        path = tmp_path / "folder"
        path.mkdir()
    if kind == "unfit":
        header, arrays = read(before / "model.safetensors")
        arrays["generator_ab.stem.weight"] = arrays["generator_ab.stem.weight"][:, :2]
        write(path, header, arrays)
    words = ["train", *map(str, new), "--out", str(tmp_path / "run"), "--init", str(path)]
    assert main(words) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("unpaired: ")
    assert "\n" not in said
    assert not checkpoints(tmp_path / "run")
