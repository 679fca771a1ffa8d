"""Files of the original code through `unpaired import`, and back through `unpaired export`."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from authors import NLayerDiscriminator, ResnetGenerator, randomised
from conftest import SMALL
from unpaired import checkpoint
from unpaired.cli.main import main
from unpaired.config import Config, Runtime
from unpaired.engines.choice import make_engine, make_translator
from unpaired.errors import CheckpointError, ConfigError, MissingExtra, RunError
from unpaired.presets import preset
from unpaired.training.run import save
from unpaired.translation.model import load
from unpaired.weights.convert import export_original, import_original

CPU = Runtime(device="cpu", threads=1)


@pytest.fixture
def theirs(tmp_path):
    """Makes files of theirs: the networks, and where each lies."""

    def make(names=("G_A", "G_B", "D_A", "D_B"), *, bands=(3, 3), epoch="latest", **options):
        a, b = bands
        made = {}
        for seed, name in enumerate(names):
            if name.startswith("D"):
                network = NLayerDiscriminator(b if name == "D_A" else a, ndf=4, n_layers=2)
            else:
                ends = (b, a) if name == "G_B" else (a, b)
                network = ResnetGenerator(*ends, **{"ngf": 4, "n_blocks": 2} | options)
            path = tmp_path / "theirs" / f"{epoch}_net_{name}.pth"
            path.parent.mkdir(exist_ok=True)
            torch.save(randomised(network, seed).state_dict(), path)
            made[name] = (network, path)
        return made

    return make


@pytest.fixture
def said(caplog):
    """Returns the lines logged so far."""
    caplog.set_level("INFO", logger="unpaired")
    return lambda: caplog.messages


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.safetensors"


def paths(made):
    return [path for _, path in made.values()]


def random_images(bands, seed=0, size=(24, 36)):
    return np.random.default_rng(seed).uniform(-1, 1, (1, *size, bands)).astype(np.float32)


def out_of(network, images):
    with torch.no_grad():
        made = network(torch.from_numpy(images).permute(0, 3, 1, 2))
    return made.permute(0, 2, 3, 1).numpy()


# ---- import -------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"n_blocks": 6, "use_dropout": True}, {"n_blocks": 9}])
def test_a_run_of_theirs_translates_as_theirs_does(theirs, model, said, options):
    made = theirs(bands=(3, 1), **options)
    for network, _ in made.values():
        network.eval()
    found = import_original(paths(made), model, name_a="photo", name_b="map")
    assert said() == []
    assert list(found) == ["generator_ab", "generator_ba", "discriminator_b", "discriminator_a"]

    loaded = load(model, device="cpu", threads=1)
    assert loaded.directions == ("ab", "ba")
    assert (loaded.name_a, loaded.name_b, loaded.step) == ("photo", "map", 0)
    recipe, arrays = loaded.config.recipe, checkpoint.read(model)[1]
    translator = make_translator(recipe, CPU)
    translator.load_generators(arrays)
    for name, direction, to in (("G_A", "ab", "map"), ("G_B", "ba", "a")):
        bands = 3 if direction == "ab" else 1
        images = random_images(bands, seed=5)
        expected = out_of(made[name][0], images)
        assert expected.std() > 0.1
        assert np.abs(translator.translate(images, direction) - expected).max() < 1e-5
        # And as images: 8 bits, at most a level apart where rounding differs.
        pixels = np.random.default_rng(1).integers(0, 256, (24, 36, bands), np.uint8)
        signed = (pixels[np.newaxis] / 127.5 - 1).astype(np.float32)
        levels = (out_of(made[name][0], signed)[0] + 1) * 127.5
        image = loaded.translate(pixels, to=to)
        assert np.abs(image.astype(float) - levels).max() < 0.501 + 1e-3


def test_their_discriminators_judge_the_same_in_ours(theirs, model):
    made = theirs(bands=(2, 3))
    import_original(paths(made), model)
    header, arrays = checkpoint.read(model)
    engine = make_engine(replace(header.config.recipe, pool_size=0), CPU)
    engine.load(engine.state() | arrays)
    for name, domain, bands in (("D_A", "b", 3), ("D_B", "a", 2)):
        images = random_images(bands, size=(48, 40))
        expected = out_of(made[name][0], images)[..., 0]
        assert np.abs(engine.judge(images, domain) - expected).max() < 1e-5


def test_what_the_header_says(theirs, model):
    import_original(paths(theirs(bands=(4, 1), n_blocks=3)), model, name_a="ä", name_b="b c")
    header = checkpoint.read_header(model)
    recipe = header.config.recipe
    assert (header.kind, header.step, header.weights) == ("model", 0, "last")
    assert header.made_on == (
        "imported from latest_net_G_A.pth, latest_net_G_B.pth, latest_net_D_A.pth, "
        "latest_net_D_B.pth"
    )
    shapes = {
        "width": 4, "blocks": 3, "discriminator_width": 4, "discriminator_layers": 2,
        "bands_a": 4, "bands_b": 1, "depth_a": 8, "depth_b": 8, "name_a": "ä", "name_b": "b c",
    }  # fmt: skip
    assert recipe == preset("paper", shapes)
    assert (recipe.upsample, recipe.ema, recipe.steps) == ("transposed", 0, 0)


@pytest.mark.parametrize(
    ("name", "asked", "direction"),
    [("G_A", None, "ab"), ("G_B", None, "ba"), ("G", None, "ab"), ("G", "ba", "ba")],
)
def test_one_direction(theirs, model, said, name, asked, direction):
    made = theirs([name], bands=(3, 1))
    import_original(paths(made), model, direction=asked, name_a="summer", name_b="winter")
    loaded = load(model, device="cpu", threads=1)
    ends = {"ab": (3, 1), "ba": (1, 3)}[direction] if name == "G_B" else (3, 1)
    assert loaded.directions == (direction,)
    recipe = loaded.config.recipe
    bands = {"a": recipe.bands_a, "b": recipe.bands_b}
    assert (bands[direction[0]], bands[direction[1]]) == ends
    assert (recipe.discriminator_width, recipe.discriminator_layers) == (64, 3)
    black = np.zeros((8, 8, ends[0]), np.uint8)
    assert loaded.translate(black, to=direction[1]).shape[:2] == (8, 8)
    there, back = ("winter", "summer") if direction == "ab" else ("summer", "winter")
    with pytest.raises(ConfigError) as caught:
        loaded.translate(np.zeros((8, 8, 3), np.uint8), to=back)
    assert str(caught.value) == (
        f"{model} has one direction: its generator_{direction} translates to {there}, not to "
        f"{back}: for that give a model with generator_{direction[::-1]}"
    )
    if name == "G" and asked is None:
        assert said() == [
            "latest_net_G.pth has neither G_A nor G_B in its name: taken as summer to winter; "
            "--direction ba is the other direction"
        ]
    else:
        assert said() == []


def test_a_published_name(theirs, model, tmp_path, said):
    ((_, path),) = theirs(["G"]).values()
    path.rename(tmp_path / "summer2winter_yosemite.pth")
    import_original([tmp_path / "summer2winter_yosemite.pth"], model)
    assert load(model, device="cpu").directions == ("ab",)
    assert "summer2winter_yosemite.pth has neither G_A nor G_B" in said()[0]


def test_old_files_and_wrapped_files_give_the_same_model(theirs, model, tmp_path):
    ((network, path),) = theirs(["G_A"], old=True).values()
    import_original([path], model)
    expected = checkpoint.read(model)[1]
    plain = dict(network.named_parameters())
    for prefix in ("module.", "_orig_mod.module."):
        wrapped = {prefix + name: p.detach() for name, p in plain.items()}
        torch.save(wrapped, path, _use_new_zipfile_serialization=False)
        import_original([path], model, overwrite=True)
        found = checkpoint.read(model)[1]
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[name], expected[name]) for name in found)


def test_a_discriminator_too_deep_for_256_pixels(theirs, model, tmp_path):
    made = theirs(["G_A"])
    deep = tmp_path / "deep_net_D_A.pth"
    torch.save(randomised(NLayerDiscriminator(ndf=1, n_layers=7), 0).state_dict(), deep)
    import_original([*paths(made), deep], model)
    recipe = checkpoint.read_header(model).config.recipe
    assert (recipe.discriminator_layers, recipe.image_size) == (7, 384)


# ---- what import rejects ------------------------------------------------------------------


def rejection(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        import_original(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_not_of_one_model(theirs, model, tmp_path):
    made = theirs()
    files = paths(made)
    again = theirs(["G_A"], epoch=200)["G_A"][1]
    assert "latest_net_G_A.pth and 200_net_G_A.pth are both generator_ab" in rejection(
        CheckpointError, [*files, again], model
    )
    nameless = theirs(["G"])["G"][1]
    assert "latest_net_G_A.pth and latest_net_G.pth are both generator_ab" in rejection(
        CheckpointError, [*files, nameless], model
    )
    wide = theirs(["G_B"], epoch="wide", ngf=8)["G_B"][1]
    assert (
        "width is 4 in latest_net_G_A.pth and 8 in wide_net_G_B.pth: they are not of one model"
        in rejection(CheckpointError, [files[0], wide], model)
    )
    grey = theirs(["D_A"], epoch="grey", bands=(3, 1))["D_A"][1]
    assert "bands_b is 3 in latest_net_G_A.pth and 1 in grey_net_D_A.pth" in rejection(
        CheckpointError, [*files[:2], grey], model
    )
    assert "no generator among the files" in rejection(CheckpointError, files[2:], model)
    assert "no generator among the files" in rejection(CheckpointError, [], model)
    assert not model.exists()


def test_names_and_contents_that_disagree(theirs, model, tmp_path):
    made = theirs()
    for name, other in (("G_A", "D_B"), ("D_B", "G_A")):
        path = tmp_path / f"{name}.pth"
        path.write_bytes(made[other][1].read_bytes())
        kind = "discriminator" if other == "D_B" else "generator"
        assert f"holds a {kind}, and its name says otherwise" in rejection(
            CheckpointError, [path], model
        )
    path = made["D_A"][1].rename(tmp_path / "latest_net_D.pth")
    assert "has neither D_A nor D_B: their D_A judges B" in rejection(
        CheckpointError, [made["G_A"][1], path], model
    )
    assert "swap --name-a and --name-b" in rejection(
        ConfigError, [made["G_A"][1]], model, direction="ba"
    )


def test_files_that_hold_something_else(theirs, model, tmp_path):
    path = tmp_path / "latest_net_G_A.pth"
    state = theirs(["G"])["G"][0].state_dict()
    torch.save({"epoch": 1, "state_dict": state}, path)
    assert "holds 'epoch', 'state_dict' where only plain tensors may be" in rejection(
        CheckpointError, [path], model
    )
    torch.save({f"model.{name}": tensor for name, tensor in state.items()}, path)
    assert "neither a ResNet generator nor" in rejection(CheckpointError, [path], model)
    import_original([theirs(["G_B"])["G_B"][1]], model)
    # Some versions of PyTorch can read it, some cannot.
    assert "model.safetensors" in rejection(CheckpointError, [model], tmp_path / "x.safetensors")
    assert f"{tmp_path / 'no.pth'} does not exist" in rejection(
        CheckpointError, [tmp_path / "no.pth"], tmp_path / "x.safetensors"
    )
    assert "is a folder: give its files, such as" in rejection(
        CheckpointError, [tmp_path], tmp_path / "x.safetensors"
    )


class Trap:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_file_that_would_run_code(theirs, model, tmp_path):
    path, mark = tmp_path / "latest_net_G_A.pth", tmp_path / "mark"
    torch.save(dict(theirs(["G"])["G"][0].state_dict()) | {"model.1.weight": Trap(mark)}, path)
    assert "names posix.mkdir, which is not a tensor, and may run code" in rejection(
        CheckpointError, [path], model
    )
    assert not mark.exists()
    assert not model.exists()


def test_what_exists_stays(theirs, model, tmp_path):
    files = paths(theirs(["G_A"]))
    model.write_bytes(b"mine")
    assert "exists: choose another --out, or replace it by --overwrite" in rejection(
        ConfigError, files, model
    )
    assert model.read_bytes() == b"mine"
    import_original(files, model, overwrite=True)
    assert load(model, device="cpu").directions == ("ab",)
    before = files[0].read_bytes()
    assert "is one of the files to import" in rejection(
        ConfigError, files, files[0], overwrite=True
    )
    assert files[0].read_bytes() == before
    assert "is a folder: name a file in it" in rejection(ConfigError, files, tmp_path)


def test_names_of_domains_are_rejected_before_any_work(model, tmp_path):
    assert "do not tell the domains apart" in rejection(
        ConfigError, [tmp_path / "no.pth"], model, name_a="x", name_b="X"
    )


def test_a_folder_that_cannot_be_written(theirs, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "model.safetensors"
    assert "is a file (expected a folder)" in rejection(RunError, paths(theirs(["G_A"])), out)


def test_without_pytorch(theirs, model, monkeypatch, tmp_path):
    files = paths(theirs(["G_A"]))
    import_original(files, model)
    monkeypatch.delattr("unpaired.weights.torch_pth")
    monkeypatch.delitem(sys.modules, "unpaired.weights.torch_pth")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert rejection(MissingExtra, files, tmp_path / "x.safetensors") == (
        "reading .pth files needs torch, which is not installed: pip install 'unpaired[torch]'"
    )
    with pytest.raises(MissingExtra, match=r"writing \.pth files needs torch"):
        export_original(model, tmp_path / "out")


# ---- export -------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run folder as a training leaves it, with EMA or without, and its engine."""

    def make(**changes):
        wanted = SMALL | {
            "upsample": "transposed", "bands_a": 3, "bands_b": 1, "blocks": 6, "width": 4,
            "discriminator_layers": 2, "image_size": 16, "load_size": 16,
        }  # fmt: skip
        of_2017 = {"discriminator_norm": "instance", "gradient_penalty": 0.0}
        recipe = preset("tiny", of_2017 | wanted | changes)
        engine = make_engine(recipe, CPU)
        rng = np.random.default_rng(0)
        state = {
            name: (rng.standard_normal(a.shape) * 0.2).astype(a.dtype)
            for name, a in engine.state().items()
        }
        engine.load(state | {"updates": np.array(7)})
        save(tmp_path / "run", Config(recipe, CPU), engine, 7, {})
        return tmp_path / "run", engine

    return make


def loaded_strictly(path, network):
    network.load_state_dict(torch.load(path, weights_only=True), strict=True)
    return network.eval()


@pytest.mark.parametrize("ema", [0.9, 0.0])
@pytest.mark.parametrize("given", ["run", "checkpoint"])
def test_a_run_is_exported_as_it_translates(run, tmp_path, said, ema, given):
    folder, engine = run(ema=ema)
    source = folder if given == "run" else checkpoint.checkpoint_path(folder, 7)
    out = tmp_path / "theirs"
    files = export_original(source, out)
    assert [path.name for path in files] == [
        f"latest_net_{name}.pth" for name in ("G_A", "G_B", "D_A", "D_B")
    ]
    assert sorted(out.iterdir()) == sorted(files)  # and no temporary file
    for name, direction, bands in (("G_A", "ab", (3, 1)), ("G_B", "ba", (1, 3))):
        network = loaded_strictly(
            out / f"latest_net_{name}.pth", ResnetGenerator(*bands, ngf=4, n_blocks=6)
        )
        images = random_images(bands[0])
        expected = engine.translate(images, direction)  # with the EMA weights where EMA is on
        assert expected.std() > 0.1
        assert np.abs(out_of(network, images) - expected).max() < 1e-5
    for name, domain, bands in (("D_A", "b", 1), ("D_B", "a", 3)):
        network = loaded_strictly(
            out / f"latest_net_{name}.pth", NLayerDiscriminator(bands, ndf=2, n_layers=2)
        )
        images = random_images(bands)
        assert np.abs(out_of(network, images)[..., 0] - engine.judge(images, domain)).max() < 1e-5
    which = "the average (EMA) of the generators" if ema else "the last weights"
    assert said() == [
        f"{which} at step 7, as `unpaired translate` uses them",
        "their options: --input_nc 3 --output_nc 1 --ngf 4 --norm instance --no_dropout "
        "--netD n_layers --n_layers_D 2 --ndf 2 --netG resnet_6blocks",
    ]


def test_in_and_out_again_is_the_same_but_for_the_void_biases(theirs, model, tmp_path):
    made = theirs(use_dropout=True, old=True)
    import_original(paths(made), model)
    assert checkpoint.read_header(model).config.recipe.start == "noise"
    export_original(model, tmp_path / "out")
    for name, (network, path) in made.items():
        again = torch.load(tmp_path / "out" / path.name, weights_only=True)
        parameters = {
            key.replace("conv_block.6", "conv_block.5"): p for key, p in network.named_parameters()
        }
        assert list(again) == list(parameters)
        same = {key for key, p in parameters.items() if torch.equal(again[key], p)}
        kept = {"model.0.bias", "model.8.bias"} if name.startswith("D") else {"model.19.bias"}
        assert same == {key for key in parameters if key.endswith("weight")} | kept
        assert not any(again[key].any() for key in set(parameters) - same)


def test_a_run_without_its_checkpoint_is_exported_without_discriminators(run, tmp_path, said):
    folder, _ = run()
    checkpoint.checkpoint_path(folder, 7).unlink()
    files = export_original(folder, tmp_path / "out")
    assert [path.name for path in files] == ["latest_net_G_A.pth", "latest_net_G_B.pth"]
    assert said()[1].startswith("no discriminators, which are in the checkpoint of this step: ")
    assert "--ndf" not in said()[2]


def test_a_number_of_blocks_that_their_options_do_not_have(run, tmp_path, said):
    export_original(run(blocks=4)[0], tmp_path / "out")
    assert "6 or 9 blocks and this model has 4" in said()[-1]
    loaded_strictly(
        tmp_path / "out" / "latest_net_G_A.pth", ResnetGenerator(3, 1, ngf=4, n_blocks=4)
    )


def test_what_cannot_be_exported(run, tmp_path, theirs, said):
    out = tmp_path / "out"
    folder, _ = run(upsample="resize")
    with pytest.raises(ConfigError, match="upsamples by resize convolutions"):
        export_original(folder, out)
    folder, _ = run(start="identity", bands_b=3)
    with pytest.raises(ConfigError, match="add to their input") as told:
        export_original(folder, out)
    assert "\n" not in str(told.value)
    assert not out.exists()
    with pytest.raises(CheckpointError, match="nothing does not exist"):
        export_original(tmp_path / "nothing", out)
    with pytest.raises(CheckpointError, match=r"theirs.model\.safetensors does not exist"):
        export_original(theirs(["G_A"])["G_A"][1].parent, out)
    with pytest.raises(CheckpointError, match="is damaged or not a weights file"):
        export_original(theirs(["G_A"])["G_A"][1], out)
    model = tmp_path / "none.safetensors"
    header = checkpoint.Header("model", Config(preset("paper"), CPU), 0)
    checkpoint.write(model, header, {"x": np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match="holds no generator"):
        export_original(model, out)


def test_files_of_theirs_stay_unless_overwritten(run, tmp_path, said):
    folder, _ = run()
    out = tmp_path / "out"
    out.mkdir()
    (out / "latest_net_D_B.pth").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"latest_net_D_B\.pth exists.*--overwrite"):
        export_original(folder, out)
    assert [path.name for path in out.iterdir()] == ["latest_net_D_B.pth"]
    export_original(folder, out, overwrite=True)
    assert len(list(out.iterdir())) == 4
    assert (out / "latest_net_D_B.pth").read_bytes() != b"mine"


# ---- the two verbs ------------------------------------------------------------------------


def test_import_and_export_through_the_command_line(theirs, model, tmp_path, capsys):
    made = theirs(["G_A", "D_B"], bands=(3, 1))
    words = ["import", *map(str, paths(made)), "--out", str(model), "--name-b", "my map"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == (
        "generator_ab: 3 -> 1 bands, width 4, 2 blocks (latest_net_G_A.pth)\n"
        "discriminator_a: 3 bands, width 4, 2 layers (latest_net_D_B.pth)\n"
    )
    assert err == f"written: unpaired translate {model} IMAGES --to 'my map' --out FOLDER\n"
    folder = tmp_path / "out"
    assert main(["export", str(model), "--format", "original", "--out", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{folder / 'latest_net_G_A.pth'}\n{folder / 'latest_net_D_B.pth'}\n"
    assert err.startswith("the last weights at step 0")


def test_a_nameless_generator_through_the_command_line(theirs, model, capsys):
    ((_, path),) = theirs(["G"]).values()
    assert main(["import", str(path), "--out", str(model), "--direction", "ba"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("generator_ba: ")
    assert err == f"written: unpaired translate {model} IMAGES --to a --out FOLDER\n"
    assert main(["import", str(path), "--out", str(model), "--overwrite"]) == 0
    assert "neither G_A nor G_B in its name: taken as a to b" in capsys.readouterr().err


def test_rejections_are_one_line(model, capsys, tmp_path):
    assert main(["import", str(tmp_path / "no.pth"), "--out", str(model)]) == 2
    assert main(["import", "--out", str(model)]) == 2
    assert main(["export", str(model), "--format", "original", "--out", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(": ")[0] for line in err.splitlines()] == ["unpaired"] * 3


@pytest.mark.parametrize("verb", ["import", "export"])
def test_help_names_the_flags(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    flags = {"import": ("--direction", "--name-a", "--name-b"), "export": ("--format",)}[verb]
    told = capsys.readouterr().out
    assert all(flag in told for flag in (*flags, "--out", "--overwrite"))
