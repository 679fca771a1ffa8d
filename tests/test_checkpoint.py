"""Weights files: content is read back to the last bit, or rejected."""

import json
import os
import zlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from unpaired import checkpoint
from unpaired.checkpoint import (
    FORMAT,
    Header,
    checkpoint_path,
    checkpoints,
    fault_of,
    generators,
    latest_good,
    prune,
    read,
    read_header,
    write,
)
from unpaired.config import Config, Runtime
from unpaired.errors import CheckpointError, RunError
from unpaired.presets import preset

CONFIG = Config(
    preset("tiny", {"name_a": 'é "quoted" \\ #', "cycle": 0.1, "seed": 2**40}), Runtime(threads=3)
)
PENDING = {"losses": [{"x": 0.1}], "evaluations": {"best": None, "firing": ["collapse"]}}
HEADER = Header("checkpoint", CONFIG, 7, "ema", PENDING, "torch 9, cpu, x86")


def odd_arrays():
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(4, 3, 2))
    return {
        "none": np.array(2.5),
        "none_int": np.array(-3, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "empty_inside": np.zeros((2, 0, 5), np.float32),
        "double": plain,
        "single": plain.astype(np.float32),
        "half": plain.astype(np.float16),
        "bytes": rng.integers(0, 256, 7, dtype=np.uint8),
        "words": rng.integers(0, 2**16, (2, 2), dtype=np.uint16),
        "signs": np.array([[True], [False]]),
        "strange": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324]),
        "läufer.0.weight": np.ones(1, np.float32),
    }


def assert_same(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape), name
        assert array.tobytes() == expected[name].tobytes(), name


def foreign(path, header, arrays=None):
    """Writes a weights file by hand, its header as given."""
    metadata = header if isinstance(header, str) else json.dumps(header)
    save_file(arrays or {"x": np.zeros(3)}, path, {"unpaired": metadata})


# ---- written and read ----------------------------------------------------------------------


def test_arrays_come_back_to_the_last_bit(tmp_path):
    arrays = odd_arrays()
    write(tmp_path / "x.safetensors", HEADER, arrays)
    _, back = read(tmp_path / "x.safetensors")
    assert_same(back, arrays)


PLAIN = np.arange(24.0).reshape(4, 3, 2)


@pytest.mark.parametrize(
    "array",
    [PLAIN.T, np.asfortranarray(PLAIN), PLAIN[::2, ::-1], np.broadcast_to(np.float32(3), (2, 3))],
    ids=["turned", "fortran", "steps", "spread"],
)
def test_arrays_of_any_memory_layout(tmp_path, array):
    write(tmp_path / "x.safetensors", HEADER, {"x": array})
    assert_same(read(tmp_path / "x.safetensors")[1], {"x": array})


def test_no_arrays_at_all(tmp_path):
    write(tmp_path / "x.safetensors", HEADER, {})
    assert read(tmp_path / "x.safetensors") == (HEADER, {})


@pytest.mark.parametrize(
    "header", [HEADER, Header("model", Config(preset("paper"), Runtime()), 0), Header(
        "checkpoint", CONFIG, 10**9)], ids=["full", "defaults", "late"]
)  # fmt: skip
def test_headers_come_back(tmp_path, header):
    write(tmp_path / "x.safetensors", header, odd_arrays())
    assert read_header(tmp_path / "x.safetensors") == header
    assert read(tmp_path / "x.safetensors")[0] == header


def test_the_library_alone_reads_the_file_too(tmp_path):
    """Any reader of safetensors gets the arrays, and the header as one entry of JSON."""
    arrays = odd_arrays()
    write(tmp_path / "x.safetensors", HEADER, arrays)
    with safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        assert_same({name: file.get_tensor(name) for name in file.keys()}, arrays)  # noqa: SIM118
        metadata = file.metadata()
    assert metadata.keys() == {"unpaired"}
    told = json.loads(metadata["unpaired"])
    assert told["format"] == FORMAT == 2
    assert told["pending"] == PENDING  # plain data, no text of JSON in JSON
    assert (told["kind"], told["step"], told["weights"]) == ("checkpoint", 7, "ema")
    assert Config.from_toml(told["config"], "header") == CONFIG


def test_what_is_read_does_not_depend_on_the_file(tmp_path):
    path, arrays = tmp_path / "x.safetensors", odd_arrays()
    write(path, HEADER, arrays)
    _, back = read(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    path.unlink()
    assert_same(back, arrays)
    for array in back.values():
        array[...] = 1  # may be written to


def test_equal_content_is_equal_bytes(tmp_path):
    arrays = odd_arrays()
    write(tmp_path / "one.safetensors", HEADER, arrays)
    write(tmp_path / "other.safetensors", HEADER, dict(reversed(arrays.items())))
    content = (tmp_path / "one.safetensors").read_bytes()
    assert (tmp_path / "other.safetensors").read_bytes() == content
    write(tmp_path / "other.safetensors", HEADER, arrays | {"half": arrays["half"] + 1})
    assert (tmp_path / "other.safetensors").read_bytes() != content


def test_writing_does_not_change_what_is_written(tmp_path):
    arrays, kept = odd_arrays(), odd_arrays()
    write(tmp_path / "x.safetensors", HEADER, arrays)
    assert_same(arrays, kept)


# ---- rejected -----------------------------------------------------------------------------


def rejection(path):
    with pytest.raises(CheckpointError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_any_flipped_bit_is_found(tmp_path):
    """In the length, the library's header, ours, the numbers: every 5th byte, each bit in turn.

    As a CheckpointError, which is what sends a training back to the checkpoint before.
    """
    path = tmp_path / "x.safetensors"
    write(path, HEADER, {"x": np.arange(12.0).reshape(3, 4), "n": np.array(3)})
    content = path.read_bytes()
    for place in [*range(8), *range(8, len(content), 5)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        rejection(path)


def test_any_cut_is_found(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, HEADER, {"x": np.arange(12.0)})
    content = path.read_bytes()
    for length in [*range(0, len(content), 61), len(content) - 1]:
        path.write_bytes(content[:length])
        rejection(path)
    path.write_bytes(content + b"\0")
    rejection(path)


@pytest.mark.parametrize("format", [3, 0, "1", None])
def test_an_unknown_format_is_rejected(tmp_path, format):
    path = tmp_path / "x.safetensors"
    foreign(path, HEADER.to_json() | {"format": format})
    assert f"has format {format!r}, this version reads formats 1 and 2: use" in rejection(path)
    with pytest.raises(CheckpointError, match="has format"):
        read_header(path)


def signed(header, arrays):
    """A header with the checksum that fits it."""
    return header | {"checksum": checkpoint._checksum(header, arrays)}


@pytest.mark.parametrize("missing", [*HEADER.to_json(), "checksum"])
def test_a_header_that_lacks_a_value_is_rejected(tmp_path, missing):
    path, arrays = tmp_path / "x.safetensors", {"x": np.zeros(3)}
    header = {k: v for k, v in HEADER.to_json().items() if k != missing}
    foreign(path, header if missing == "checksum" else signed(header, arrays), arrays)
    rejection(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", 3), ("step", "7"), ("step", True), ("step", None), ("weights", ["ema"]),
        ("pending", "{}"), ("pending", []), ("made_on", None), ("config", {}),
        ("config", "[recipe"), ("config", "[recipe]\ncolour = 1"), ("config", "recipe = 1"),
        ("config", "[recipe]\nwidth = -1"), ("config", "[runtime]\nengine = 3"),
        ("config", "[recipe]\nwidth = 1" + 400 * "0"),
        ("config", "[recipe]\ncycle = 1" + 5000 * "0"),
        ("config", "[recipe]\ndiscriminator_layers = 1" + 15 * "0"),
        ("config", "x = " + 10**5 * "["),
    ],
)  # fmt: skip
def test_a_header_with_a_value_that_cannot_be_is_rejected(tmp_path, name, value):
    path, arrays = tmp_path / "x.safetensors", {"x": np.zeros(3)}
    foreign(path, signed(HEADER.to_json() | {name: value}, arrays), arrays)
    assert "is damaged or not a weights file" in rejection(path)
    with pytest.raises(CheckpointError):
        read_header(path)


# ---- numbers that no training gives ---------------------------------------------------------


@pytest.mark.parametrize("name", ["generator_ab.x", "discriminator_b.x", "ema.generator_ba.x"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -2e6])
def test_weights_beyond_all_are_rejected_whatever_their_sum(tmp_path, name, value):
    path = tmp_path / "x.safetensors"
    write(path, HEADER, {name: np.array([0.5, -1e6, 1e6])})
    assert read(path)[0] == HEADER
    write(path, HEADER, {"a": np.zeros(2), name: np.array([[0.5, value]], np.float32)})
    kind = "numbers beyond 1,000,000" if np.isfinite(value) else "NaN or infinity"
    assert rejection(path).endswith(f"cannot be used: {name} holds {kind}")


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("moment1.generator_ab.x", np.array([np.inf])), ("pool_a", np.array([np.nan])),
        ("generator_ab.x", np.array([1])), ("ema.generator_ab.x", np.array([True])),
        ("updates", np.array(np.nan)), ("updates", np.array(-1)), ("updates", np.array([3])),
        ("updates", np.array(2**62)), ("updates", np.array(True)), ("moment2.x\ny", np.array([1])),
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_is_rejected(tmp_path, name, array):
    write(tmp_path / "x.safetensors", HEADER, {name: array})
    rejection(tmp_path / "x.safetensors")
    assert fault_of({name: array})
    assert not fault_of({f"other.{name}": array})


def test_a_state_is_what_it_may_be():
    state = {"moment2.x": np.array([1e30]), "pool_a": np.zeros((0, 3)), "updates": np.array(10**9)}
    assert fault_of(state | {"ema.generator_ab.x": np.array(0.5, np.float16)}) == ""


# ---- headers without end, files that are none -----------------------------------------------


@pytest.mark.parametrize("text", ["[[]," * 60, '{"a":' * 101, " " * 2001])
def test_a_header_of_millions_is_rejected_unread(tmp_path, monkeypatch, text):
    assert (checkpoint._MOST_HEADER, checkpoint._MOST_TABLES) == (64_000_000, 1_000_000)
    monkeypatch.setattr(checkpoint, "_MOST_HEADER", 2000)
    monkeypatch.setattr(checkpoint, "_MOST_TABLES", 100)
    foreign(tmp_path / "x.safetensors", text)
    monkeypatch.setattr(json, "loads", lambda text: pytest.fail("it was parsed"))
    assert "longer than that of any training" in rejection(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "pickle"),
        ("weights", "best"),
        ("step", -1),
        ("step", 10**30),
        ("made_on", "x" * 5000),
    ],
)  # fmt: skip
def test_a_header_value_out_of_its_range_is_rejected(tmp_path, name, value):
    path, arrays = tmp_path / "x.safetensors", {"x": np.zeros(3)}
    foreign(path, signed(HEADER.to_json() | {name: value}, arrays), arrays)
    assert f"no valid {name!r}" in rejection(path)


def test_a_file_larger_than_the_free_memory_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write(path, HEADER, {"x": np.zeros(2_000_000)})
    monkeypatch.setattr(checkpoint, "free", lambda: 15_000_000)
    with pytest.raises(RunError, match=r"needs 0.0 GB of memory and 0.0 GB are free"):
        read(path)


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_only_regular_files_are_read(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    assert "is not a regular file" in rejection(path)


# ---- format 1, of version 0.1 -------------------------------------------------------------


def test_pending_of_format_1_is_a_text_of_json(tmp_path):
    path, arrays = tmp_path / "x.safetensors", {"x": np.zeros(3)}
    header = HEADER.to_json() | {"format": 1, "pending": json.dumps(PENDING)}
    foreign(path, signed(header, arrays), arrays)
    assert read_header(path) == read(path)[0] == HEADER


@pytest.mark.parametrize("pending", ["no JSON", "[]", "", "[" * 10**5, None, {}])
def test_pending_of_format_1_that_cannot_be_is_rejected(tmp_path, pending):
    path, arrays = tmp_path / "x.safetensors", {"x": np.zeros(3)}
    header = HEADER.to_json() | {"format": 1, "pending": pending}
    foreign(path, signed(header, arrays), arrays)
    if pending == {}:
        assert read(path)[0].pending == {}
    else:
        rejection(path)


# ---- errors of ours stay what they are ----------------------------------------------------


@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError, ValueError, OSError])
def test_a_bug_of_ours_is_not_called_damage(tmp_path, monkeypatch, error):
    path = tmp_path / "x.safetensors"
    write(path, HEADER, odd_arrays())

    def broken(*arguments):
        raise error("a bug")

    monkeypatch.setattr(checkpoint, "_checksum", broken)
    with pytest.raises(error, match="a bug"):
        read(path)
    monkeypatch.setattr(Config, "from_toml", broken)
    with pytest.raises(error, match="a bug"):
        read_header(path)


# ---- the generators to translate with -----------------------------------------------------


def test_the_average_of_the_generators_is_preferred():
    names = ("generator_ab.x", "generator_ba.x", "discriminator_a.x", "ema.generator_ab.x")
    arrays = {name: np.full(2, index) for index, name in enumerate(names)}
    found, weights = generators(HEADER, arrays)
    assert (list(found), weights) == (["generator_ab.x"], "ema")
    assert found["generator_ab.x"] is arrays["ema.generator_ab.x"]


@pytest.mark.parametrize("weights", ["ema", "last"])
def test_without_an_average_the_header_tells_what_the_generators_are(weights):
    arrays = {"generator_ba.x": np.zeros(2), "discriminator_a.x": np.zeros(3), "step": np.array(3)}
    header = Header("model", CONFIG, 3, weights)
    assert generators(header, arrays) == ({"generator_ba.x": arrays["generator_ba.x"]}, weights)
    assert generators(header, {}) == ({}, weights)


@pytest.mark.parametrize(
    "header",
    [
        "", "no JSON", "[" * 10**5, '{"format": 1}', '{"format": 2}',
        "[]", "7",
    ],
)  # fmt: skip
def test_a_strange_header_is_rejected(tmp_path, header):
    foreign(tmp_path / "x.safetensors", header)
    rejection(tmp_path / "x.safetensors")


def test_other_files_and_none_are_rejected(tmp_path):
    path = tmp_path / "x.safetensors"
    assert "does not exist: give a run folder" in rejection(path)
    assert "is a folder: give a run folder" in rejection(tmp_path)
    save_file({"x": np.zeros(3)}, path)
    assert "has no header of unpaired" in rejection(path)
    path.write_text("no weights")
    assert "damaged or not a weights file" in rejection(path)


def test_an_array_exchanged_between_two_files_is_found(tmp_path):
    """Each file is whole in itself; the header of one does not match the numbers of the other."""
    path = tmp_path / "x.safetensors"
    write(path, HEADER, {"x": np.zeros(3)})
    with safe_open(path, framework="numpy") as file:
        header = file.metadata()["unpaired"]
    foreign(path, header, {"x": np.zeros(3)})
    assert_same(read(path)[1], {"x": np.zeros(3)})
    for arrays in ({"x": np.ones(3)}, {"y": np.zeros(3)}, {"x": np.zeros((3, 1))},
                   {"x": np.zeros(3, np.int64)}, {"x": np.zeros(3), "y": np.zeros(0)}):  # fmt: skip
        foreign(path, header, arrays)
        assert "its content does not match its checksum" in rejection(path)


def test_the_checksum_in_words(tmp_path):
    """CRC-32 over the header's JSON, then per array, in order of names, its name and its bytes."""
    path, arrays = tmp_path / "x.safetensors", {"b": np.arange(3), "a": np.array([[1.5]])}
    write(path, HEADER, arrays)
    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["unpaired"])
    told = header.pop("checksum")
    text = json.dumps(header, sort_keys=True).encode()
    text += b"a float64 (1, 1)" + arrays["a"].tobytes() + b"b int64 (3,)" + arrays["b"].tobytes()
    assert told == f"crc32:{zlib.crc32(text):08x}"


# ---- the checkpoints of a run -------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run folder with four checkpoints."""
    for step in (9, 10, 200, 1000):
        header = Header("checkpoint", CONFIG, step)
        write(checkpoint_path(tmp_path, step), header, {"x": np.full(2, step)})
    return tmp_path


def steps_of(run):
    return [int(path.stem.removeprefix("step-")) for path in checkpoints(run)]


def test_checkpoints_are_in_order_of_steps(run):
    assert steps_of(run) == [9, 10, 200, 1000]
    assert checkpoints(run)[0] == run / "checkpoints" / "step-00000009.safetensors"
    assert checkpoints(run / "nothing") == []


def test_steps_of_more_digits_are_later(tmp_path):
    for step in (99_999_999, 100_000_000, 1_000_000_000):
        checkpoint_path(tmp_path, step).parent.mkdir(exist_ok=True)
        checkpoint_path(tmp_path, step).touch()
    assert steps_of(tmp_path) == [99_999_999, 100_000_000, 1_000_000_000]
    prune(tmp_path, 1, newest=100_000_000)
    assert steps_of(tmp_path) == [100_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    ("keep", "left"), [(1, [1000]), (3, [10, 200, 1000]), (9, [9, 10, 200, 1000])]
)
def test_prune_keeps_the_newest(run, keep, left):
    prune(run, keep, newest=1000)
    assert steps_of(run) == left


def test_prune_does_not_count_what_is_newer_than_the_run(run):
    """They are damaged, or the run would have resumed from them: good ones are kept instead."""
    prune(run, 1, newest=10)
    assert steps_of(run) == [10, 200, 1000]


def test_the_latest_good_one(run):
    path, header, arrays, errors = latest_good(run)
    assert (path, header.step, arrays["x"].tolist(), errors) == (
        checkpoints(run)[-1], 1000, [1000, 1000], [],
    )  # fmt: skip
    for newest in checkpoints(run)[2:]:
        newest.write_bytes(newest.read_bytes()[:-1])
    path, header, _, errors = latest_good(run)
    assert (path, header.step, len(errors)) == (checkpoints(run)[1], 10, 2)
    assert "step-00001000" in str(errors[0])


def test_none_good_and_none_at_all(run, tmp_path):
    assert latest_good(tmp_path / "new") is None
    for path in checkpoints(run):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 4 checkpoints") as error:
        latest_good(run)
    assert "\n" not in str(error.value)
    assert all(path.exists() for path in checkpoints(run))


def test_no_temporary_file_is_taken_for_a_checkpoint(run):
    (run / "checkpoints" / ".step-00009999-abc.tmp.safetensors").write_bytes(b"half")
    assert steps_of(run)[-1] == 1000
    assert latest_good(run)[1].step == 1000
