"""Configurations and command lines of nonsense: taken, or rejected in a few lines, at once.

Nothing is trained or translated here: what is accepted stops where the work would begin.
"""

import contextlib
import dataclasses
import io
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import pytest

import fuzzing
from conftest import write_images
from fake_engine import FakeEngine
from unpaired import checkpoint
from unpaired.config import Config, Recipe, Runtime
from unpaired.errors import ConfigError, UnpairedError
from unpaired.evaluation.options import Options
from unpaired.presets import PRESETS

BOUND = 400  # characters of a line
ODD = [
    "0", "1", "-1", "2", "8", "16", "65536", "4097", "1000000000", "9" * 30, "9" * 240, "9" * 5000,
    "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "0x10", "1_0", "", " ", "x", "y" * 250,
    "z" * 100_000, "a/" * 3000, "/dev/null", ".", "..", "~", "é", "\x1b[2J", "a\nb", "\udc80",
    "None", "True", "[]", "{}", "--", "-", "--out", "=", "a=b", "cuda:99999999999", "cpu:1", "*?[",
]  # fmt: skip
TOML = [
    *ODD[:17], "nan", "inf", "-inf", "0x" + "f" * 5000, "true", "'x'", "''", "'" + "x" * 300 + "'",
    "[" * 900, "[[[]]]", "{a = {b = 1}}", "1979-05-27T07:32:00Z", '"\\u0000\\n"', '"""', "'tiny'",
    "'fp64'", "'torch'", "3.0", "0b1", "1e3", "\\", "#",
]  # fmt: skip
VERBS = {
    "train": (Recipe, Runtime), "evaluate": (Options,), "compare": (Options,),
    "translate": (Options,), "data check": (Options,),
}  # fmt: skip
MORE = [
    "epochs", "minutes", "extend", "preset", "working-size", "batch-size", "format", "to", "quiet",
    "verbose", "skip-unreadable", "version", "full", "name", "nothing-of-this-name",
]  # fmt: skip


def table_of(draw):
    """The text of a config.toml, some lines of it changed."""
    recipe = draw.choice(list(PRESETS.values()))
    lines = Config(recipe, Runtime()).to_toml().splitlines()
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(lines))
        name = lines[at].partition(" = ")[0]
        value = draw.choice(TOML)
        lines[at] = draw.choice([
            f"{name} = {value}", f"{name} = {value}", f"{name} = {value}", "",
            f"{draw.choice(['recipe', 'runtime', 'x', 'a.b.c', 'ü'])} = {value}",
            draw.choice(["[recipe]", "[[recipe]]", "[[runtime]]", "[x]", "[recipe.x]"]),
            fuzzing.mutated(draw, lines[at].encode()).decode("utf-8", "replace"),
            lines[at][:1000] * draw.choice([2, 3000]),
        ])  # fmt: skip
    return "\n".join(lines)


def words_of(draw, data, run, out):
    """A command with some values and flags that nobody gives."""
    verb = draw.choice(list(VERBS))
    words = {
        "train": ["train", str(data), "--out", str(out)],
        "evaluate": ["evaluate", str(run), str(data), "--out", str(out)],
        "compare": ["compare", str(run), str(run / "model.safetensors"), "--data", str(data)],
        "translate": ["translate", str(run), str(data / "trainA"), "--to", "b", "--out", str(out)],
        "data check": ["data", "check", str(data)],
    }[verb]
    names = [item.name for table in VERBS[verb] for item in dataclasses.fields(table)]
    for _ in range(draw.choice([0, 1, 1, 2, 4])):
        flag = "--" + draw.choice([*names, *names, *MORE]).replace("_", "-")
        value = draw.choice(ODD)
        words += draw.choice([[flag, value], [flag, value], [f"{flag}={value}"], [flag], [value]])
    if draw.random() < 0.1:
        words[draw.randrange(1, len(words))] = draw.choice(ODD)
    return [word.replace("\0", "") for word in words]


# ---- one case, and batches of them --------------------------------------------------------


def read_table(draw):
    try:
        config = Config.from_toml(table_of(draw), "config.toml")
    except ConfigError as error:
        fuzzing.require_one_line(error)
        return "rejected"
    assert Config.from_toml(config.to_toml(), "config.toml") == config
    return "taken"


def read_words(draw, data, run, out):
    from unpaired.cli.main import main

    words = words_of(draw, data, run, out)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as exit:  # help, or a usage error of the parser
            code = f"usage {exit.code}"
    told = errors.getvalue()
    if str(code).startswith("usage"):
        assert code in ("usage 0", "usage 2"), words
        assert len(told) < 6000, words
        return "usage" if code == "usage 2" else "taken"
    assert code in (0, 1, 2), (words, told)
    if code == 2:
        last = told.splitlines()[-1]
        assert last.startswith("unpaired: "), (words, told)
        assert len(last.replace(str(out.parent), "")) <= BOUND + 20, (words, told)
        return "taken" if "the work would begin" in told else "rejected"
    return "taken"


def stop(*arguments, **keywords):
    raise UnpairedError("here the work would begin")


def run(first, count):
    """A batch of cases, and how they ended: see `fuzzing.in_processes`."""
    import unpaired.evaluation.evaluate as evaluation
    import unpaired.training.loop as loop
    import unpaired.translation.files as files
    from unpaired.engines import loading

    loop._train = files.try_writing = evaluation.gather = stop
    loading.make_translator = FakeEngine
    fuzzing.limit_memory(1536)
    outcomes = Counter()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),  # relative names are written here
        warnings.catch_warnings(action="ignore"),
    ):
        data, finished = Path(folder, "data"), Path(folder, "run")
        for seed, name in enumerate(("trainA", "trainB", "testA", "testB")):
            write_images(data / name, 3, seed)
        settled = {"bands_a": 3, "bands_b": 3, "depth_a": 8, "depth_b": 8}
        config = Config(dataclasses.replace(PRESETS["tiny"], **settled), Runtime())
        state = FakeEngine(config.recipe, config.runtime).state()
        checkpoint.write(
            finished / "model.safetensors",
            checkpoint.Header("model", config, 3),
            {name: array for name, array in state.items() if name.startswith("generator")},
        )
        for seed in range(first, first + count):
            with fuzzing.case(seed, seconds=10) as draw:
                if draw.random() < 0.5:
                    outcomes[f"file {read_table(draw)}"] += 1
                else:
                    told = read_words(draw, data, finished, Path(folder, f"out-{seed}"))
                    outcomes[f"words {told}"] += 1
    return outcomes


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory as Linux has them")
@pytest.mark.parametrize("cases", fuzzing.seeds(150, 2_000))
def test_configurations_of_nonsense(cases):
    outcomes = fuzzing.in_processes(__file__, cases)
    expected = {"file taken", "file rejected", "words taken", "words rejected", "words usage"}
    assert outcomes.keys() == expected  # all are met
