"""Generators in ONNX: the engines' results in onnxruntime and OpenVINO, 8 bits, untrusted files."""

import dataclasses
import math
import sys

import numpy as np
import pytest
import torch

from unpaired.checkpoint import Header
from unpaired.config import Config, Runtime
from unpaired.directions import DIRECTIONS
from unpaired.engines.architecture import he_std
from unpaired.engines.choice import make_translator
from unpaired.engines.runtimes import make_onnx_file, make_runtime, read_onnx_file
from unpaired.engines.seam import generators_of
from unpaired.engines.tiles import TileNetworks
from unpaired.engines.torch.networks import Generator
from unpaired.errors import CheckpointError, ConfigError, MissingExtra, TooLarge
from unpaired.presets import preset

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
ort = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("openvino", reason="the extra openvino is not installed")

from unpaired.engines.onnx import graph, translator  # noqa: E402
from unpaired.engines.onnx.onnxruntime import OnnxRuntime  # noqa: E402
from unpaired.engines.onnx.openvino import OpenVino  # noqa: E402
from unpaired.engines.onnx.quantise import input_ranges  # noqa: E402
from unpaired.engines.onnx.translator import OnnxTranslator  # noqa: E402

CPU = Runtime(device="cpu", threads=1)
RUNTIMES = ("onnx", "openvino")
SIZES = ((8, 8), (12, 20), (64, 16), (36, 44), (96, 64))
BATCHES = (1, 2, 5)
KINDS = {
    "2017": {},
    "resize": {"upsample": "resize"},
    "identity": {"upsample": "resize", "start": "identity"},
    "residual": {"upsample": "resize", "start": "residual"},
    "no norm": {"norm": "none"},
    "no norm, resize, identity": {"norm": "none", "upsample": "resize", "start": "identity"},
    "unequal bands": {"bands_a": 4, "bands_b": 1},
}


def recipe_of(**changes):
    own = {"bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8, "width": 8, "blocks": 2}
    return preset("paper", own | {"steps": 1} | changes)


def weights_of(recipe, seed=0):
    """Random weights with which activations keep their size and results fill [-1, 1]."""
    rng = np.random.default_rng(seed)

    def deviation(layer):
        return math.prod(layer.shape[1:]) ** -0.5 if layer.name == "head" else he_std(layer)

    return {
        f"{name}.{key}": rng.normal(0, deviation(layer), shape).astype(np.float32)
        for name, layers in generators_of(recipe).items()
        for layer in layers
        for key, shape in layer.parameters.items()
    }


def images_of(recipe, direction, count=1, size=(16, 24), seed=1):
    bands = recipe.domains[direction[0]].bands
    images = np.random.default_rng(seed).uniform(-1, 1, (count, *size, bands))
    images[:, :4, :4] = -1  # atanh is steepest at black and white
    images[:, 4:8, :4] = 1
    return images.astype(np.float32)


def loaded(translator, arrays):
    translator.load_generators(arrays)
    return translator


def header_of(recipe, **changes):
    return Header("model", Config(recipe, Runtime()), 7, **changes)


# ---- the engines' results -----------------------------------------------------------------


# OpenVINO compiles for every size, which takes time.
@pytest.mark.parametrize(
    ("kind", "runtime"),
    [*((kind, "onnx") for kind in KINDS), ("2017", "openvino"), ("identity", "openvino")],
)
def test_the_results_are_those_of_the_engine(kind, runtime):
    recipe = recipe_of(**KINDS[kind])
    arrays = weights_of(recipe)
    engine = loaded(make_translator(recipe, CPU), arrays)
    exported = loaded(make_runtime(runtime, recipe, CPU), arrays)
    for direction in DIRECTIONS:
        for size in SIZES:
            for count in BATCHES:
                images = images_of(recipe, direction, count, size)
                expected = engine.translate(images, direction)
                result = exported.translate(images, direction)
                assert (result.shape, result.dtype) == (expected.shape, np.float32)
                assert np.abs(result - expected).max() <= 1e-4
                assert expected.std() > 0.1


@pytest.mark.nightly
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", ["2017", "resize", "identity"])
def test_the_results_of_the_networks_of_2017(kind, runtime):
    recipe = recipe_of(width=64, blocks=9, **KINDS[kind])
    arrays = weights_of(recipe)
    engine = loaded(make_translator(recipe, CPU), arrays)
    exported = loaded(make_runtime(runtime, recipe, CPU), arrays)
    # At 8 px an instance norm of 2 x 2 values magnifies rounding, in the engines too.
    for direction in DIRECTIONS:
        for size in ((16, 16), (32, 48), (64, 96), (100, 200), (256, 256)):
            for count in (1, 2, 3):
                images = images_of(recipe, direction, count, size)
                gap = exported.translate(images, direction) - engine.translate(images, direction)
                assert np.abs(gap).max() <= 1e-4


def test_the_results_are_those_of_jax():
    recipe = recipe_of(upsample="resize", width=4, blocks=1)
    arrays = weights_of(recipe)
    engine = loaded(make_translator(recipe, dataclasses.replace(CPU, engine="jax")), arrays)
    exported = loaded(make_runtime("onnx", recipe, CPU), arrays)
    images = images_of(recipe, "ba", 2)
    gap = exported.translate(images, "ba") - engine.translate(images, "ba")
    assert np.abs(gap).max() <= 1e-4


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("start", ["residual", "identity"])
def test_a_start_from_the_image_gives_its_input(runtime, start):
    recipe = recipe_of(upsample="resize", start=start)
    arrays = weights_of(recipe)
    arrays |= {key: np.zeros_like(a) for key, a in arrays.items() if ".head." in key}
    exported = loaded(make_runtime(runtime, recipe, CPU), arrays)
    images = images_of(recipe, "ab")
    assert np.array_equal(exported.translate(images, "ab"), images)


def test_what_was_trained_in_fp64_is_computed_in_fp32():
    recipe = recipe_of(precision="fp64")
    arrays = {key: a.astype(np.float64) for key, a in weights_of(recipe).items()}
    engine = loaded(make_translator(recipe, CPU), arrays)
    exported = loaded(make_runtime("onnx", recipe, CPU), arrays)
    images = images_of(recipe, "ab")
    gap = exported.translate(images, "ab") - engine.translate(images, "ab")
    assert np.abs(gap).max() <= 1e-4


# ---- runtimes -----------------------------------------------------------------------------


def test_openvino_computes_in_the_precision_asked_for():
    recipe = recipe_of(width=16)
    arrays = weights_of(recipe)
    exported = loaded(make_runtime("openvino", recipe, CPU), arrays)
    images = images_of(recipe, "ab")
    trained = exported.translate(images, "ab")
    exported.use("fp32")
    assert np.array_equal(exported.translate(images, "ab"), trained)
    exported.use("bf16")
    gap = np.abs(exported.translate(images, "ab") - trained).max()
    native = "BF16" in OpenVino(1).core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert (gap > 1e-4) == native
    in_bf16 = dataclasses.replace(recipe, precision="bf16")
    exported.release()
    of_bf16 = loaded(make_runtime("openvino", in_bf16, CPU), arrays)
    assert np.array_equal(of_bf16.translate(images, "ab"), exported.translate(images, "ab"))


def test_onnxruntime_has_no_bf16():
    recipe = recipe_of(precision="bf16")
    exported = loaded(make_runtime("onnx", recipe, CPU), weights_of(recipe))
    exported.translate(images_of(recipe, "ab"), "ab")  # what was trained in it is computed in fp32
    exported.use("bf16")
    with pytest.raises(ConfigError, match="does not compute in bf16 on a CPU: give --precision"):
        exported.translate(images_of(recipe, "ab"), "ab")


def test_threads_are_honoured(monkeypatch):
    recipe = recipe_of()
    given = {}
    usual = ort.InferenceSession

    def session(model, options, **more):
        given["onnx"] = options.intra_op_num_threads
        return usual(model, options, **more)

    monkeypatch.setattr(ort, "InferenceSession", session)
    runtime = OpenVino(1)
    usual_compile = runtime.core.compile_model

    class Core:
        def read_model(self, *arguments):
            return runtime.core.read_model(*arguments)

        def compile_model(self, *arguments):
            compiled = usual_compile(*arguments)
            given["openvino"] = compiled.get_property("INFERENCE_NUM_THREADS")
            return compiled

    openvino = OpenVino(1)
    openvino.core = Core()
    for executor in (OnnxRuntime(1), openvino):
        exported = loaded(OnnxTranslator(recipe, executor), weights_of(recipe))
        exported.translate(images_of(recipe, "ab"), "ab")
    assert given == {"onnx": 1, "openvino": 1}


def test_what_runtimes_reject():
    with pytest.raises(ConfigError, match="--runtime openvino computes on the CPU: give --device"):
        make_runtime("openvino", recipe_of(), Runtime(device="cuda"))
    exported = make_runtime("onnx", recipe_of(), CPU)
    with pytest.raises(
        CheckpointError, match=r"does not fit the recipe: generator_ab.* is missing"
    ):
        exported.load_generators({"generator_ab.stem.weight": np.zeros((8, 3, 7, 7), np.float32)})
    assert not isinstance(exported, TileNetworks)  # whole images alone: nothing is streamed


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "openvino"])
def test_a_missing_package_is_one_line(package, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("unpaired.engines.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    runtime = "openvino" if package == "openvino" else "onnx"
    with pytest.raises(MissingExtra) as caught:
        make_runtime(runtime, recipe_of(), CPU)
    assert str(caught.value) == (
        f"--runtime {runtime} needs {package}, which is not installed: "
        f"pip install 'unpaired[{runtime}]'"
    )


@pytest.mark.parametrize("executor", [OnnxRuntime(1), OpenVino(1)], ids=RUNTIMES)
def test_memory_that_runs_out_is_too_large(executor):
    # As they say it under a limit of the process (ulimit -v).
    said = {
        "OnnxRuntime": "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned "
        "while running ConvTranspose node. Name:'up.0.conv' Status Message: std::bad_alloc",
        "OpenVino": "Exception from src/inference/src/cpp/infer_request.cpp:224: std::bad_alloc",
    }[type(executor).__name__]

    class Full:
        methods = executor.methods
        peak = executor.peak
        exhausted = executor.exhausted

        def compile(self, model, precision):
            def run(planes):
                raise RuntimeError(said)

            return run

    recipe = recipe_of()
    exported = loaded(OnnxTranslator(recipe, Full()), weights_of(recipe))
    with pytest.raises(TooLarge, match="too little memory to translate an image of 24 x 16 pixels"):
        exported.translate(images_of(recipe, "ab"), "ab")
    assert not executor.exhausted(RuntimeError("Invalid input name"))


def test_an_image_that_cannot_fit_is_rejected_before_it_is_computed(monkeypatch):
    recipe = recipe_of()
    exported = loaded(make_runtime("onnx", recipe, CPU), weights_of(recipe))
    monkeypatch.setattr(translator, "free", lambda: 10**5)
    monkeypatch.setattr(translator, "_MODEST", 0)
    exported.translate(images_of(recipe, "ab"), "ab")
    with pytest.raises(TooLarge, match="too little memory to translate an image of 64 x 128"):
        exported.translate(images_of(recipe, "ab", size=(128, 64)), "ab")


# ---- 8 bits -------------------------------------------------------------------------------


def layers_and_weights(recipe, direction="ab"):
    name = f"generator_{direction}"
    arrays = weights_of(recipe)
    own = {k.removeprefix(f"{name}."): a for k, a in arrays.items() if k.startswith(name)}
    return generators_of(recipe)[name], own


@pytest.mark.parametrize("kind", ["2017", "no norm, resize, identity"])
def test_ranges_are_those_of_the_inputs_of_layers(kind):
    recipe = recipe_of(**KINDS[kind])
    layers, weights = layers_and_weights(recipe)
    images = images_of(recipe, "ab", 3)
    found = input_ranges(layers, weights, recipe.start, images, threads=1)
    network = Generator(layers, recipe.start)
    network.load_state_dict({key: torch.from_numpy(a) for key, a in weights.items()})
    seen = {}
    for layer, module in zip(layers, [m for m in network.modules() if hasattr(m, "layer")],
                             strict=True):  # fmt: skip
        module.register_forward_pre_hook(lambda _, x, name=layer.name: seen.update({name: x[0]}))
    with torch.no_grad():
        network(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert set(found) == {layer.name for layer in layers[1:-1]}
    for name, (low, high) in found.items():
        assert low == pytest.approx(min(float(seen[name].min()), 0), abs=1e-4)
        assert high == pytest.approx(max(float(seen[name].max()), 0), abs=1e-4)


def test_a_layer_in_8_bits_is_rounded_as_written():
    """Against the arithmetic in numpy: inputs of 255 steps, weights of 127 a channel."""
    recipe = recipe_of(blocks=1)
    layers, weights = layers_and_weights(recipe)
    ranges = {"blocks.0.conv2": (0.0, 1.5)}
    plain, names = graph.with_layer_inputs(layers, weights, "noise")
    model = graph.generator_graph(layers, weights, "noise", ranges)
    for name in ("blocks.0.conv2.input", "blocks.0.conv2.weight"):
        free = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * 4)
        model.graph.output.append(free)
    planes = images_of(recipe, "ab").transpose(0, 3, 1, 2)

    def run(model, *wanted):
        return ort.InferenceSession(model.SerializeToString()).run(wanted, {"images": planes})

    taken = dict(zip((layer.name for layer in layers), names, strict=True))["blocks.0.conv2"]
    (before,) = run(plain, taken)
    after, kernel = run(model, "blocks.0.conv2.input", "blocks.0.conv2.weight")
    step = np.float32(1.5 / 255)
    expected = np.clip(np.rint(before / step), 0, 255) * step
    assert np.abs(after - expected).max() <= step * 1.01  # a tie may be rounded either way
    assert np.mean(np.abs(after - expected) > 1e-5) < 0.001
    assert before.max() > 1.5  # so that something was clipped
    assert after.max() == pytest.approx(1.5)
    weight = weights["blocks.0.conv2.weight"]
    steps = np.abs(weight).max((1, 2, 3), keepdims=True) / 127
    assert np.abs(kernel - np.rint(weight / steps) * steps).max() < 1e-6
    assert 0 < np.abs(kernel - weight).max() <= steps.max() / 2 + 1e-6


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("kind", ["2017", "identity", "no norm"])
def test_a_model_in_8_bits_is_near_the_engine(kind, runtime):
    recipe = recipe_of(**KINDS[kind])
    arrays = weights_of(recipe)
    engine = loaded(make_translator(recipe, CPU), arrays)
    images = images_of(recipe, "ba", 4, (32, 32))
    content = make_onnx_file(header_of(recipe), arrays, "ba", images, threads=1)
    whole = make_onnx_file(header_of(recipe), arrays, "ba")
    assert len(content) < 0.6 * len(whole)
    exported = make_runtime(runtime, recipe, CPU)
    exported.load_model(content, "ba")
    gap = np.abs(exported.translate(images, "ba") - engine.translate(images, "ba"))
    assert 0 < gap.mean() * 127.5 < 3


# ---- files --------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    """Writes a file, its model changed by a function, and returns its path."""

    def write(change=lambda model: None, calibration=None, **changes):
        recipe = recipe_of(**changes)
        arrays = weights_of(recipe)
        header = header_of(recipe, weights="ema", made_on="a test")
        content = make_onnx_file(header, arrays, "ba", calibration, threads=1)
        model = onnx.load_model_from_string(content)
        change(model)
        path = tmp_path / "model-ba.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return write


def test_a_file_is_valid_and_says_what_it_is(written):
    path = written(name_a="summer", name_b="winter", bands_a=2, depth_a=16)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert (said["source"], said["target"], said["direction"]) == ("winter", "summer", "ba")
    assert (said["source_bands"], said["target_bands"]) == ("3", "2")
    assert (said["source_depth"], said["target_depth"]) == ("8", "16")
    assert said["source_scaling"] == "[-1, 1]: sample / 127.5 - 1 of 8 bits"
    assert said["target_scaling"] == "[-1, 1]: sample / 32767.5 - 1 of 16 bits"
    assert said["padding"].startswith("height and width are multiples of 4, at least 8: mirror")
    assert (said["opset"], said["step"], said["numbers"]) == ("17", "7", "fp32")
    assert Config.from_toml(said["config"], "it").recipe.name_a == "summer"
    for end, bands in ((model.graph.input, 3), (model.graph.output, 2)):
        dims = [d.dim_param or d.dim_value for d in end[0].type.tensor_type.shape.dim]
        assert dims == ["batch", bands, "height", "width"]
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("InstanceNormalization") == 9  # one operator each, not its parts


def test_a_file_is_read_as_it_was_written(written):
    read = read_onnx_file(written())
    recipe = recipe_of()
    assert (read.direction, read.header.step, read.header.weights) == ("ba", 7, "ema")
    assert (read.header.made_on, read.header.config.recipe) == ("a test", recipe)
    expected = {k: a for k, a in weights_of(recipe).items() if k.startswith("generator_ba.")}
    assert read.arrays.keys() == expected.keys()
    assert all(np.array_equal(read.arrays[key], expected[key]) for key in expected)


def test_a_file_in_8_bits_is_read_as_it_was_written(written):
    images = images_of(recipe_of(), "ba", 2)
    path = written(calibration=images)
    read = read_onnx_file(path)
    assert read.arrays == {}
    results = []
    for content in (read.model, path.read_bytes()):
        exported = make_runtime("onnx", recipe_of(), CPU)
        exported.load_model(content, "ba")
        results.append(exported.translate(images, "ba"))
    assert np.array_equal(*results)


def first(model, kind):
    return next(node for node in model.graph.node if node.op_type == kind)


def constant(model, name):
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def outside(model):
    tensor = constant(model, "stem.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def huge_padding(model):
    constant(model, "mirror.3").raw_data = np.full(8, 10**9, np.int64).tobytes()


def not_a_number(model):
    constant(model, "stem.weight").raw_data = np.full((8, 3, 7, 7), np.nan, np.float32).tobytes()


def another_recipe(model):
    entry = next(entry for entry in model.metadata_props if entry.key == "config")
    entry.value = entry.value.replace("width = 8 ", "width = 4096 ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.ClearField("metadata_props"), "has no metadata of unpaired"),
        (lambda m: m.metadata_props[0].CopyFrom(
            onnx.StringStringEntryProto(key="unpaired.format", value="9")), "has format '9', this"),
        (lambda m: m.metadata_props[1].CopyFrom(
            onnx.StringStringEntryProto(key="direction", value="up")), "not those of a direction"),
        (lambda m: m.graph.node.pop(), "has changed its graph: export the model again"),
        (lambda m: first(m, "Conv").attribute.pop(), "has changed its graph"),
        (lambda m: m.graph.node.add(op_type="Loop"), "has changed its graph"),
        (lambda m: m.opset_import.add(domain="evil", version=1), "has changed its graph"),
        (lambda m: m.graph.initializer.add(name="x", raw_data=b"x"), "has changed its graph"),
        (lambda m: constant(m, "stem.weight").dims.pop(), "constant stem.weight does not fit"),
        (huge_padding, "constant mirror.3 does not fit the recipe"),
        (outside, "has constants outside itself"),
        (not_a_number, r"cannot be used: generator_ba.stem.weight holds NaN"),
        (another_recipe, "networks have [0-9,]+ parameters, the file has"),
    ],
)  # fmt: skip
def test_a_file_that_was_changed_is_rejected(written, change, told):
    with pytest.raises(CheckpointError, match=told) as caught:
        read_onnx_file(written(change))
    assert "\n" not in str(caught.value)


def test_other_files_are_rejected(tmp_path, written):
    path = tmp_path / "model.onnx"
    with pytest.raises(CheckpointError, match="does not exist"):
        read_onnx_file(path)
    content = written().read_bytes()
    for wrong in (b"", b"hello", content[: len(content) // 2], b"\xff" * 100):
        path.write_bytes(wrong)
        with pytest.raises(CheckpointError, match=r"is damaged|has no metadata"):
            read_onnx_file(path)
