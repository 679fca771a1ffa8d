"""Models pushed to and loaded from a hub: a server on this machine stands in for it."""

import hashlib
import json
import re
import socket

import numpy as np
import pytest

pytest.importorskip("huggingface_hub", reason="the extra hub is not installed")

from hub.local_hub import LocalHub
from small_models import SETTLED, SUMMER, WINTER
from unpaired import load
from unpaired.checkpoint import Header, read, write
from unpaired.cli.main import main
from unpaired.config import Config, Recipe, Runtime
from unpaired.engines.seam import discriminators_of, generators_of
from unpaired.errors import CheckpointError, ConfigError, MissingExtra, RunError
from unpaired.hub.download import HubAddress, local_model
from unpaired.hub.push import push
from unpaired.weights.init import read_init

RECIPE = Recipe(**SETTLED | {"width": 2, "blocks": 1, "discriminator_width": 2, "preset": "tiny"})
PATH = "/home/ann/private/alexnet.safetensors"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of its own, and a cache of its own."""
    from huggingface_hub import constants

    hub = LocalHub().start()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    for name in ("HF_HUB_CACHE", "HF_XET_CACHE"):
        monkeypatch.setattr(constants, name, str(tmp_path / "cache" / name))
        monkeypatch.setenv(name, str(tmp_path / "cache" / name))  # for other processes
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield hub
    hub.stop()


def weights(*networks):
    rng = np.random.default_rng(0)
    layers = generators_of(RECIPE) | discriminators_of(RECIPE)
    return {
        f"{network}.{name}": rng.normal(0, 0.02, shape).astype(np.float32)
        for network in networks
        for layer in layers[network]
        for name, shape in layer.parameters.items()
    }


@pytest.fixture
def run(tmp_path):
    """The folder of a run that was trained, evaluated and checked."""
    folder = tmp_path / "run"
    config = Config(RECIPE, Runtime(features=PATH, threads=3))
    header = Header("model", config, 8, weights="ema")
    write(folder / "model.safetensors", header, weights("generator_ab", "generator_ba"))
    record = {"a": "0123abcd" * 5, "b": "0123abcd" * 7}
    (folder / "data.json").write_text(json.dumps({"run": record, "facts": {"root": PATH}}))
    samples = folder / "samples"
    samples.mkdir()
    for step in (4, 8):
        (samples / f"step-{step:08d}.png").write_bytes(b"grid %d" % step)
    finding = {"name": "collapse", "where": "a -> b", "fired": True, "message": "few <b>kinds</b>"}
    quiet = {"name": "inversion", "where": "a -> b", "fired": False, "message": "fine"}
    flat = {"name": "flat images", "where": "a", "fired": True, "message": "private.png is flat"}
    line = {"step": 8, "findings": [quiet], "validation": {"criterion": 0.5, "measure": "m"}}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    value = {"value": 0.00321, "low": 0.0012, "high": 0.0049}
    scores = {
        "model": {"kind": "model", "values": {"kid": value}},
        "identity": {"kind": "baseline", "values": {"kid": {"value": 0.02}}},
        "real training images": {"kind": "floor", "values": {"kid": {"value": None}}},
    }
    about = {"name": "KID x 1000", "shown_times": 1000, "unit": "", "better": "lower"}
    report = {
        "steps": {"the model": 8}, "scores": {"ab": scores, "ba": scores},
        "figures": {"kid": about}, "findings": [finding, quiet, flat],
        "verdict": {"text": ["It works."]},
    }  # fmt: skip
    (folder / "report").mkdir()
    (folder / "report" / "report.json").write_text(json.dumps(report))
    return folder


def test_a_pushed_run_is_loaded_again_and_its_revision_is_told(hub, run, tmp_path, capsys, shown):
    words = ["push", str(run), "ann/seasons", "--licence", "cc-by-4.0"]
    assert main(words) == 0
    pinned = capsys.readouterr().out.strip()
    (commit,) = (name for name, _ in hub.repositories["ann/seasons"])
    assert pinned == f"hf://ann/seasons@{commit}"
    _, files = hub.files("ann/seasons", commit)
    assert sorted(files) == ["README.md", "model.safetensors"]

    model = load("hf://ann/seasons", engine="torch", threads=1)
    assert f"hf://ann/seasons is now {pinned}" in shown()
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    local = load(run, engine="torch", threads=1)
    np.testing.assert_array_equal(
        model.translate(image, to=WINTER), local.translate(image, to=WINTER)
    )
    init = read_init("hf://ann/seasons")
    assert (init.given, init.config.recipe) == ("hf://ann/seasons", RECIPE)

    hub.commit("ann/seasons", {"README.md": b"other"})
    assert str(local_model(pinned)).endswith(f"{commit}/model.safetensors")
    assert local_model("hf://ann/seasons").parent.name != commit


def test_a_hub_model_is_exported(hub, run, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    pushed = push(run, "ann/seasons", licence="mit").address
    words = ["export", str(pushed), "--out", str(tmp_path / "out"), "--format"]
    assert main([*words, "onnx"]) == 0
    assert main([*words, "original"]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model-ab.onnx", "model-ba.onnx", "latest_net_G_A.pth", "latest_net_G_B.pth",
    }  # fmt: skip


def test_a_hub_model_becomes_a_page(hub, run, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from unpaired.web import runtime

    contents = {name: name.encode() for name in runtime.FILES}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(runtime, "FILES", sums)
    (tmp_path / "dist").mkdir()
    for name, content in contents.items():
        (tmp_path / "dist" / name).write_bytes(content)
    pushed = str(push(run, "ann/seasons", licence="mit").address)
    words = ["--format", "web", "--threads", "1", "--runtime-files", str(tmp_path / "dist")]
    for number, address in enumerate((pushed, "hf://ann/seasons")):
        out = tmp_path / f"page{number}"
        assert main(["export", address, *words, "--out", str(out), "--sample"]) == 0
        told = json.loads((out / "model.json").read_text())["models"][0]
        assert (told["name"], told["step"], told["samples"]) == ("seasons", 8, [])
        assert f"{address} has no samples: the page shows none" in capsys.readouterr().err
        networks = [(out / f"model-{direction}.onnx").read_bytes() for direction in ("ab", "ba")]
    assert main(["export", str(run), *words, "--out", str(tmp_path / "own")]) == 0
    assert networks[0] == (tmp_path / "own" / "model-ab.onnx").read_bytes()
    assert main(["export", "hf://ann/none", *words, "--out", str(tmp_path / "none")]) == 2
    assert "hf://ann/none: no such model" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_hub_model_becomes_a_study(hub, run, tmp_path):
    from conftest import write_images

    for seed, domain in enumerate("AB", start=1):
        write_images(tmp_path / "data" / f"test{domain}", 12, seed)
    push(run, "ann/seasons", licence="mit")
    words = ["--trials", "10", "--practice", "0"]
    told = []
    for number, model in enumerate(("hf://ann/seasons", str(run))):
        out = tmp_path / f"study{number}"
        assert main(["study", model, str(tmp_path / "data"), "--out", str(out), *words]) == 0
        told.append((out / "index.html").read_text("utf-8"))
    assert "data:image/png" in told[0]
    images = [re.findall(r"data:image/png;base64,[^\"]*", text) for text in told]
    assert images[0] == images[1]


def test_a_hub_model_is_served(hub, run, capsys):
    pytest.importorskip("starlette", reason="the extra serve is not installed")
    push(run, "ann/seasons", licence="mit")
    assert main(["serve", "hf://ann/seasons", "--check", "--threads", "1"]) == 0
    assert "holds: seasons translates 16 x 16 px to" in capsys.readouterr().out


def test_a_pinned_model_in_the_cache_needs_no_network(hub, run, monkeypatch):
    pinned = str(push(run, "ann/seasons", licence="mit").address)
    found = local_model(pinned)
    before = len(hub.requests)
    hub.stop()
    monkeypatch.setattr(socket.socket, "connect", None)
    assert local_model(pinned) == found
    assert load(pinned, engine="torch").step == 8
    assert load(run, engine="torch").step == 8
    assert len(hub.requests) == before


def test_what_is_pushed_has_no_path_and_nothing_of_the_runtime(hub, run):
    push(run, "ann/seasons", licence="mit")
    _, files = hub.files("ann/seasons", "main")
    for name, content in files.items():
        assert b"/home" not in content, name
        assert b"private" not in content, name
    (run / "pushed").mkdir()
    (run / "pushed" / "model.safetensors").write_bytes(files["model.safetensors"])
    header, arrays = read(run / "pushed" / "model.safetensors")
    assert header.config == Config(RECIPE, Runtime())
    assert (header.kind, header.weights, header.step) == ("model", "ema", 8)
    own = read(run / "model.safetensors")[1]
    assert arrays.keys() == own.keys()
    assert all(np.array_equal(arrays[name], own[name]) for name in own)


def test_the_card_has_data_recipe_metrics_and_failures(run, tmp_path):
    """Written into a folder, no network is used."""
    out = tmp_path / "card"
    assert main(["push", str(run), "ann/seasons", "--licence", "mit", "--out", str(out)]) == 0
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\nlibrary_name: unpaired\n")
    assert f"# {SUMMER} ↔ {WINTER}" in card
    assert 'unpaired.load("hf://ann/seasons")' in card
    assert "a, **summer**: 5 images, 3 bands of 8 bits" in card
    assert "b, **winter**: 7 images" in card
    assert "Preset `tiny` (32 px, in minutes), 8 steps, seed 0, weights: running mean" in card
    assert "`--width 2`" in card
    row = "| KID x 1000 (lower is better) | 3.21  | 1.2 to 4.9 | 20 | – |"
    assert card.count(row) == 2
    assert "It works." in card
    assert "3 checks for known failures" in card
    assert r"- **collapse** (a -\> b): few \<b\>kinds\</b\>" in card
    assert "inversion" not in card
    assert "samples.png" not in card
    assert "no evidence, no observation" in card


def test_samples_only_when_asked_for(hub, run):
    push(run, "ann/seasons", licence="mit", samples=True)
    _, files = hub.files("ann/seasons", "main")
    assert files["samples.png"] == b"grid 8"
    assert b"](samples.png)" in files["README.md"]
    for path in (run / "samples").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="has no samples: omit it"):
        push(run, "ann/other", licence="mit", samples=True)
    assert "ann/other" not in hub.repositories


def test_a_checkpoint_gives_its_generators_alone(hub, tmp_path):
    """Of one direction, without a report: the card says what there is not."""
    arrays = weights("generator_ba", "discriminator_a")
    arrays |= {"moment1.generator_ba.stem.weight": arrays["generator_ba.stem.weight"]}
    path = tmp_path / "run" / "checkpoints" / "step-00000003.safetensors"
    write(path, Header("checkpoint", Config(RECIPE, Runtime()), 3), arrays)
    push(path, "hf://ann/winter", licence="other", private=True)
    commit, files = hub.files("ann/winter", "main")
    card = files["README.md"].decode()
    assert f"# {WINTER} → {SUMMER}" in card
    assert "Nothing was measured on a test set." in card
    assert "Not checked." in card
    found = read(local_model(f"hf://ann/winter@{commit}"))[1]
    assert {name.split(".")[0] for name in found} == {"generator_ba"}


def test_a_damaged_report_is_left_out_of_the_card(run, tmp_path):
    for number, text in enumerate(("{", '{"scores": {"ab": {"x": 3}}, "findings": [1]}', "[1]")):
        (run / "report" / "report.json").write_text(text)
        push(run, "ann/seasons", licence="mit", out=tmp_path / str(number))
        card = (tmp_path / str(number) / "README.md").read_text()
        assert "Criterion on the validation part: 0.5 (m; lower is better)." in card


@pytest.mark.parametrize(
    ("address", "error", "said"),
    [
        ("hf://ann/none", CheckpointError, "no such model on http"),
        ("hf://ann/empty", CheckpointError, "has no model.safetensors"),
        ("hf://ann/empty@v9", CheckpointError, "no such revision"),
        ("hf://ann", ConfigError, "is no address of a model"),
        ("hf://ann/../etc", ConfigError, "is no address of a model"),
        ("hf://ann/x@", ConfigError, "is no address of a model"),
    ],
)
def test_what_is_not_there_is_one_line(hub, address, error, said):
    hub.commit("ann/empty", {"pytorch_model.bin": b"a pickle"})
    with pytest.raises(error, match=re.escape(said)) as raised:
        load(address)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_model_is_rejected(hub):
    hub.commit("ann/odd", {"model.safetensors": b"cos\nsystem\n(S'echo'\ntR."})
    with pytest.raises(CheckpointError, match="is damaged or not a weights file"):
        load("hf://ann/odd")


def test_servers_that_reject_or_are_not_available(hub, run, capsys):
    hub.status = 403
    with pytest.raises(RunError, match="answers 403 for hf://ann/x: your token may not do this"):
        push(run, "ann/x", licence="mit")
    hub.stop()
    with pytest.raises(RunError, match=r"cannot reach http://127\.0\.0\.1"):
        load("hf://ann/x")
    assert main(["translate", "hf://ann/x", "a.png", "--to", "b", "--out", "x"]) == 2
    assert capsys.readouterr().err.startswith("unpaired: cannot reach")


@pytest.mark.parametrize("licence", ["", "MIT\nevil: yes", "a b"])
def test_a_licence_is_an_identifier(run, licence):
    with pytest.raises(ConfigError, match="give the identifier of a licence"):
        push(run, "ann/x", licence=licence)


def test_pushing_over_the_run_is_rejected(run):
    with pytest.raises(ConfigError, match="is not empty: give a new folder"):
        push(run, "ann/x", licence="mit", out=run)


def test_an_evaluation_of_a_hub_model_needs_out(capsys):
    assert main(["evaluate", "hf://ann/seasons", "seasons-lite"]) == 2
    assert "give --out, the folder for the report" in capsys.readouterr().err


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install 'unpaired\[hub\]'"):
        load("hf://ann/seasons")
    assert HubAddress.parse("hf:/ann/x") == HubAddress("ann", "x")
