"""Weights files of nonsense: used, or rejected in one line; never a wait, a crash or gigabytes.

Batches run in processes of their own, whose memory may grow by 1.5 GiB. Every case has a seed, from
which it is made again: `case(seed)`.
"""

import copy
import io
import json
import pickle
import struct
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fuzzing
from unpaired import checkpoint
from unpaired.config import Config, Runtime
from unpaired.engines.seam import discriminators_of, generators_of
from unpaired.errors import UnpairedError
from unpaired.presets import preset

SMALL = {"image_size": 8, "load_size": 8, "width": 2, "blocks": 1, "discriminator_layers": 1,
         "discriminator_width": 2, "bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8,
         "steps": 8, "epoch_steps": 4, "batch_size": 1, "pool_size": 2}  # fmt: skip
PENDING = {"losses": [{"cycle_a": 0.5}], "evaluations": {
    "history": {"accuracy_a": [0.5], "accuracy_b": []}, "firing": [], "best": 0.5, "best_step": 4,
    "measure": "KID", "waited": 0, "stopped": False}}  # fmt: skip
ODD = [
    None, True, 0, -1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e308, float("inf"),
    float("nan"), "", "x", "x" * 5000, "a\nb", "\0", "ü", [], [1], {}, {"a": []}, [[[]]],
]  # fmt: skip
BOUND = 400  # characters of a line


# ---- whole files --------------------------------------------------------------------------


@cache
def arrays_of():
    """A whole state of the small recipe."""
    recipe = preset("tiny", SMALL)
    rng = np.random.default_rng(0)
    networks = generators_of(recipe) | discriminators_of(recipe)
    weights = {
        f"{name}.{key}": rng.normal(0, 0.02, shape).astype(np.float32)
        for name, layers in networks.items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    state = weights | {f"ema.{k}": v for k, v in weights.items() if k.startswith("generator")}
    for moment in ("moment1", "moment2"):
        state |= {f"{moment}.{name}": np.zeros_like(array) for name, array in weights.items()}
    pools = {name: np.zeros((1, 2, 8, 8, 3), np.float32) for name in ("pool_a", "pool_b")}
    return state | pools | {"updates": np.array(3)}


def header_of():
    config = Config(preset("tiny", SMALL), Runtime(device="cpu", threads=1))
    return checkpoint.Header("checkpoint", config, 3, pending=PENDING)


def safetensors(written, arrays, signed=True):
    """A file with a header of any kind, and the checksum that fits it."""
    if signed:
        written = written | {"checksum": checkpoint._checksum(written, arrays)}
    return checkpoint.save(arrays, {"unpaired": json.dumps(written)})


@cache
def authors_file(old):
    """A generator of the authors' code."""
    import torch

    from unpaired.weights.original import to_original

    recipe = preset("tiny", SMALL | {"upsample": "transposed"})
    arrays = {
        f"{name}.{key}": np.full(shape, 0.01, np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }
    state = {k: torch.tensor(v) for k, v in to_original(arrays, recipe)["G_A"].items()}
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


# ---- mutations ----------------------------------------------------------------------------


def bytes_changed(draw):
    return fuzzing.mutated(draw, safetensors(header_of().to_json(), arrays_of()))


def length_changed(draw):
    data = bytearray(safetensors(header_of().to_json(), arrays_of()))
    length = draw.choice([0, 1, 7, 2**20, 10**8, 10**8 + 1, 2**32, 2**63, 2**64 - 1])
    data[:8] = struct.pack("<Q", length)
    return bytes(data[: draw.choice([8, 9, 100, len(data)])])


def header_changed(draw):
    """Values of our header replaced, in any depth; the sum fits."""
    written = header_of().to_json()
    for _ in range(draw.choice([1, 1, 3])):
        inner, key = written, draw.choice(list(written))
        while isinstance(inner[key], dict | list) and inner[key] and draw.random() < 0.8:
            inner = inner[key]
            key = (
                draw.choice(list(inner)) if isinstance(inner, dict) else draw.randrange(len(inner))
            )
        inner[key] = copy.deepcopy(draw.choice(ODD))
        if draw.random() < 0.2:
            written[draw.choice(["x", "y" * 1000, "format"])] = copy.deepcopy(draw.choice(ODD))
    return safetensors(written, arrays_of())


def recipe_changed(draw):
    """The text of the configuration, its values replaced or its bytes; the sum fits."""
    written = header_of().to_json()
    lines = str(written["config"]).splitlines()
    for _ in range(draw.choice([1, 1, 2, 4])):
        index = draw.randrange(len(lines))
        name = lines[index].partition(" = ")[0]
        lines[index] = draw.choice([
            f"{name} = {draw.choice(TOML)}", f"{name} = {draw.choice(TOML)}",
            fuzzing.mutated(draw, lines[index].encode()).decode("utf-8", "replace"), "",
        ])  # fmt: skip
    written["config"] = "\n".join(lines)
    return safetensors(written, arrays_of())


TOML = [
    "1000000000", "100000", "4096", "1000", "65536", "9" * 400, "0", "-1", "1e308", "nan", "inf",
    "true", "'x'", "'" + "x" * 300 + "'", "[" * 900, "[" * 20, "{a = 1}", "1979-05-27",
    "0x" + "f" * 5000, "2", "4", "8", "16", "'fp64'", "'bf16'", "'resize'", "'transposed'", "'jax'",
    "''",
]  # fmt: skip
NAMES = ["generator_ab", "ema.generator_ba.x", "x", "pool_c", "a\nb", ""]


def numbers_changed(draw):
    """Tensors replaced: other numbers, shapes, types, names; the sum fits."""
    arrays = dict(arrays_of())
    for _ in range(draw.choice([1, 1, 3])):
        name = draw.choice(list(arrays))
        array = arrays[name]
        with warnings.catch_warnings(action="ignore"):
            arrays[name] = draw.choice([
                lambda a: np.full_like(a, draw.choice([np.nan, np.inf, 3e38, 1e6, 1e5, -1, 0])),
                lambda a: a.astype(draw.choice(["f2", "f8", "i1", "i8", "u2", "?", "u8"])),
                lambda a: a.reshape(-1), lambda a: a[..., None],
                lambda a: np.zeros((0, 3), np.float32), lambda a: np.zeros((), np.float32),
            ])(array)  # fmt: skip
        if draw.random() < 0.3:
            arrays[draw.choice(NAMES)] = arrays.pop(name)
    return safetensors(header_of().to_json(), arrays)


def pth_changed(draw):
    return fuzzing.mutated(draw, authors_file(draw.random() < 0.5))


VALUES = [
    b"N", b"K\x01", b"I99999999999\n", b"X\2\0\0\0ab", b")", b"}", b"]", b"h\x01", b"U\1a",
    b"G\x7f\xef" + b"\xff" * 6, b"\x8a\x09" + b"\xff" * 9,
]  # fmt: skip
CALLED = [
    b"torch\nTensor", b"torch\nFloatStorage", b"collections\nOrderedDict", b"torch\nSize",
    b"torch._utils\n_rebuild_tensor_v2", b"builtins\nbytearray", b"collections\nCounter",
    b"_codecs\nencode", b"os\nmkdir",
]  # fmt: skip
STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuJ\xff\xff\xff\x7ftQ"


def pickle_of(draw, depth=0):
    """A pickled value of any kind."""
    if depth > 3 or draw.random() < 0.4:
        return draw.choice(VALUES)
    inner, name = pickle_of(draw, depth + 1), draw.choice(CALLED)
    return draw.choice([
        inner + b"\x85", inner + b"q\x01h\x01\x86" * draw.choice([1, 30]), b"](" + inner + b"e",
        b"}(" + inner + b"K\x02u", b"c" + name + b"\n" + inner + b"\x85R", STORAGE, inner + b"b",
        b"(" + inner * 2 + b"t",
    ])  # fmt: skip


def pth_made(draw):
    """Pickles of any values, alone or in a zip file with entries of any kind."""
    content = b"\x80\x02" + pickle_of(draw) + b"."
    if draw.random() < 0.3:
        marks = b"".join(pickle.dumps(k, 2) for k in (0x1950A86A20F9469CFC6C, 1001, {}))
        return draw.choice([b"", marks]) + content + pickle.dumps(["0"], 2) + bytes(100)
    buffer = io.BytesIO()
    packed = draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with zipfile.ZipFile(buffer, "w", packed) as z:
        z.writestr("a/data.pkl", content)
        z.writestr("a/version", draw.choice(["3\n", "", "99999", "x"]))
        if draw.random() < 0.5:
            z.writestr("a/byteorder", draw.choice(["little", "big", "x"]))
        for k in range(draw.choice([0, 1, 3])):
            z.writestr(f"a/data/{k}", bytes(draw.choice([0, 4, 1000, 20_000_000])))
    data = buffer.getvalue()
    return fuzzing.mutated(draw, data) if draw.random() < 0.2 else data


KINDS = {
    "x.safetensors": (
        bytes_changed, length_changed, header_changed, recipe_changed, numbers_changed,
    ),
    "x_net_G_A.pth": (pth_changed, pth_made),
}  # fmt: skip


# ---- one case, and batches of them --------------------------------------------------------


def use(path):
    """Does what users do with such a file."""
    from unpaired.training.journal import Journal
    from unpaired.training.watch import Remembered
    from unpaired.translation.model import load
    from unpaired.weights.convert import export_original, import_original

    if path.suffix == ".pth":
        import_original([path], path.with_name("out.safetensors"), overwrite=True)
        path = path.with_name("out.safetensors")
    model = load(path, device="cpu", threads=1)
    direction = model.directions[0]
    bands = model.config.recipe.domains["a" if direction == "ab" else "b"].bands
    if bands in (1, 3) and model.config.recipe.width < 64:
        image = np.zeros((8, 8, bands), np.uint8)
        model.translate(image, to=direction[1])
    header = checkpoint.read_header(path)
    Remembered.from_pending(header.pending)
    Journal(path.parent, header.config.recipe, 3, header.pending, tensorboard=False).close()
    export_original(path, path.parent / "exported", overwrite=True)


def case(seed, folder):
    """ "used" or "rejected"; anything else is raised."""
    with fuzzing.case(seed, seconds=20) as draw, warnings.catch_warnings(action="ignore"):
        name = draw.choice(["x.safetensors", "x.safetensors", "x_net_G_A.pth"])
        path = folder / name
        path.write_bytes(draw.choice(KINDS[name])(draw))
        try:
            use(path)
        except UnpairedError as error:
            told = str(error).replace(str(folder), "")
            assert told.isprintable(), told
            assert len(told) <= BOUND, told
            return "rejected"
        return "used"


def run(first, count):
    """A batch of cases, and how they ended: see `fuzzing.in_processes`."""
    from unpaired.translation.model import load  # noqa: F401
    from unpaired.weights import torch_pth  # noqa: F401

    fuzzing.limit_memory(1536)
    with tempfile.TemporaryDirectory() as folder:
        return Counter(case(seed, Path(folder)) for seed in range(first, first + count))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("cases", fuzzing.seeds(150, 5_000))
def test_weights_of_nonsense(cases):
    pytest.importorskip("torch", reason="the torch engine is not installed")
    outcomes = fuzzing.in_processes(__file__, cases)
    assert min(outcomes["used"], outcomes["rejected"]) > cases / 200  # both are met
