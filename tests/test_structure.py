"""The house: imports run down, frameworks stay in their rooms, and what must not be there is not.

All is read from the syntax trees of the files, imports inside functions included.
"""

import ast
import graphlib
import json
import re
import statistics
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import unpaired

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "unpaired"
FILES = sorted(SOURCE.rglob("*.py"))

# From the top down. What shares a floor does not import each other. A module may have a floor of
# its own: the longest name counts.
FLOORS = (
    ("__main__",),
    ("__init__", "cli"),
    ("demo",),
    ("tuning",),
    ("study", "training"),
    ("benchmark", "evaluation", "hub", "notebook.run_view", "serving", "web"),
    ("report",),
    ("diagnostics", "metrics"),
    ("features",),
    ("fleet",),
    ("translation", "weights"),
    ("engines",),
    ("checkpoint", "data", "hub.download"),
    ("images", "seasons"),
    ("presets", "storage"),
    ("config",),
    ("console", "directions", "engines.architecture", "memory", "streams"),
    ("notebook",),
    ("errors",),
)
# The files that may import a framework, by the packages they may import; and all that a base
# install lacks.
FRAMEWORKS = {
    "benchmark/contestants.py": {"torch", "jax"},
    "benchmark/plain.py": {"torch"},
    "engines/torch": {"torch", "triton"},
    "engines/jax": {"jax", "equinox", "optax"},
    "engines/onnx": {"google", "onnx", "onnxruntime", "openvino"},
    "fleet/parquet.py": {"pyarrow"},
    "fleet/ray_data.py": {"ray", "pyarrow"},
    "features/fidelity.py": {"torch", "torch_fidelity"},
    "features/lpips.py": {"torch"},
    "features/networks.py": {"torch"},
    "training/trackers/mlflow.py": {"mlflow"},
    "training/trackers/wandb.py": {"wandb"},
    "serving/front": {"prometheus_client", "python_multipart", "starlette", "uvicorn"},
    "weights/torch_pth.py": {"torch"},
}
OPTIONAL = {"fsspec", "huggingface_hub", "rasterio", "tensorboard"}.union(*FRAMEWORKS.values())
# Who enters them, inside functions only.
DOORS = {
    "cli/verbs/fleet.py",
    "benchmark/worker.py", "engines/choice.py", "engines/runtimes.py", "features/choice.py",
    "serving/serve.py", "training/trackers/tracked.py", "weights/convert.py",
}  # fmt: skip


@cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path):
    """`unpaired.images.image` of the file of that module; packages by their own name."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {name_of(path): path for path in FILES}


HEIGHT = {name: -level for level, floor in enumerate(FLOORS) for name in floor}


def room(module):
    """The part of the house that a module is in: the longest name of FLOORS that it begins with."""
    parts = module.split(".")[1:]
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in names if name in HEIGHT), names[-1])


def place(path):
    return path.relative_to(SOURCE).as_posix()


def frameworks_of(path):
    """The framework packages that a file may import."""
    return next((p for n, p in FRAMEWORKS.items() if place(path).startswith(n)), set())


def imported(node):
    """The full names a statement imports: modules, or names in them."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports name their module in full"
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def imports_of(path, nodes=None):
    return [name for node in nodes or ast.walk(tree_of(path)) for name in imported(node)]


def our_imports(path):
    """The modules of `unpaired` that a file imports, anywhere in it."""
    found = set()
    for name in imports_of(path):
        if name.split(".")[0] == "unpaired":
            while name not in MODULES:
                assert "." in name, f"{path.name} imports from the package's front door"
                name = name.rpartition(".")[0]
            found.add(name)
    return found


def foreign(names):
    """The packages among imported names that are neither Python's nor ours."""
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"unpaired"}


def in_a_fresh_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- imports ------------------------------------------------------------------------------


def test_every_room_has_a_floor():
    assert {room(module) for module in MODULES if module != "unpaired"} == set(HEIGHT)


def test_imports_run_down():
    up = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in our_imports(path)
        if room(module) != room(other) and HEIGHT[room(other)] >= HEIGHT[room(module)]
    ]
    assert up == []


def test_imports_make_no_circles():
    graph = {module: our_imports(path) for module, path in MODULES.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_check_of_imports_sees_what_is_there():
    """Guards the tests above: known imports, of the module, in functions, and of modules."""
    assert "unpaired.errors" in our_imports(SOURCE / "config" / "recipe.py")
    assert "unpaired.training.loop" in our_imports(SOURCE / "cli" / "verbs" / "train.py")
    assert "unpaired.directions" in our_imports(SOURCE / "translation" / "model.py")
    assert "unpaired.engines.torch.engine" in our_imports(SOURCE / "engines" / "choice.py")


def test_frameworks_stay_in_their_own_files():
    packages = set().union(*FRAMEWORKS.values())
    outside = {
        place(path): found
        for path in FILES
        if (found := packages & foreign(imports_of(path)) - frameworks_of(path))
    }
    assert outside == {}


def test_the_files_of_frameworks_are_entered_through_their_doors():
    entered = {module for module, path in MODULES.items() if frameworks_of(path)}
    for path in FILES:
        if frameworks_of(path):
            continue
        assert not entered & set(our_imports(path)) or place(path) in DOORS, path
        at_once = set(imports_of(path, tree_of(path).body))
        assert not any(name.startswith(tuple(entered)) for name in at_once), path


def test_optional_packages_are_imported_inside_functions():
    for path in FILES:
        at_once = foreign(imports_of(path, tree_of(path).body)) & OPTIONAL
        assert at_once <= frameworks_of(path), path


def test_every_package_imported_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    import_names = {"pillow": "PIL", "torch-fidelity": "torch_fidelity", "protobuf": "google"}
    import_names |= {"mlflow-skinny": "mlflow", "python-multipart": "python_multipart"}

    def names(requirements):
        found = {re.match(r"[\w-]+", line)[0] for line in requirements}
        return {import_names.get(name, name) for name in found}

    base = names(project["dependencies"])
    extras = names(line for extra in project["optional-dependencies"].values() for line in extra)
    used = {package for path in FILES for package in foreign(imports_of(path))}
    assert used - OPTIONAL <= base
    assert used & OPTIONAL <= extras
    assert OPTIONAL.isdisjoint(base)
    assert base <= used


# ---- a fresh process ----------------------------------------------------------------------

LOADED = "import json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"


def test_import_is_quick():
    loaded = in_a_fresh_process(f"import unpaired\n{LOADED}")
    assert "unpaired" in loaded
    assert not {"torch", "jax", "PIL", "numpy", "tyro", "rich", "safetensors"} & set(loaded)


def test_the_console_is_imported_at_its_first_use():
    assert in_a_fresh_process("import unpaired; unpaired.console.show(); print('\"shown\"')")


def test_training_and_translation_are_imported_without_a_framework():
    loaded = in_a_fresh_process(f"import unpaired; unpaired.train, unpaired.load\n{LOADED}")
    assert "PIL" in loaded
    assert not OPTIONAL & set(loaded)


def test_a_base_install_imports_every_module():
    """Where no optional package is installed, all but the files of the frameworks import."""
    modules = [m for m, path in MODULES.items() if not frameworks_of(path)]
    code = f"""
import importlib, json, sys
for package in {sorted(OPTIONAL)}:
    sys.modules[package] = None
for module in {modules}:
    importlib.import_module(module)
print(json.dumps("done"))
"""
    assert in_a_fresh_process(code) == "done"


def test_public_names():
    assert unpaired.__all__ == [
        "Config", "Model", "Report", "Run", "bench", "compare", "console", "errors", "evaluate",
        "load", "lr_find", "train",
    ]  # fmt: skip
    for name in unpaired.__all__:
        assert getattr(unpaired, name).__name__.split(".")[-1] == name
    with pytest.raises(AttributeError, match="module 'unpaired' has no attribute 'translte'"):
        _ = unpaired.translte


@pytest.mark.parametrize(
    "module", [m for m, path in MODULES.items() if path.name != "__init__.py" and "__" not in m]
)
def test_all_lists_what_is_there(module):
    (listed,) = (
        ast.literal_eval(node.value)
        for node in tree_of(MODULES[module]).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    bound = {name for node in tree_of(MODULES[module]).body for name in names_bound_by(node)}
    assert set(listed) <= bound
    assert len(set(listed)) == len(listed)


def names_bound_by(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [
            name for target in node.targets for name in ast.unparse(target).strip("()").split(", ")
        ]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    if isinstance(node, ast.If):
        return [name for inner in node.body for name in names_bound_by(inner)]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return []


# ---- what must not be there ---------------------------------------------------------------


def test_no_file_is_long():
    lengths = {place(path): lines(path) for path in FILES}
    assert {name: count for name, count in lengths.items() if count > 400} == {}
    assert statistics.median(lengths.values()) < 200


def test_no_folder_is_crowded():
    folders = [SOURCE, *(path for path in SOURCE.rglob("*/") if path.name != "__pycache__")]
    counts = {place(folder): sum(p.is_file() for p in folder.iterdir()) for folder in folders}
    assert {name: count for name, count in counts.items() if count > 12} == {}


def test_every_folder_has_a_signpost():
    for folder in {path.parent for path in FILES}:
        assert ast.get_docstring(tree_of(folder / "__init__.py")), folder


def test_no_two_public_classes_share_a_name():
    """The two engines mirror each other on purpose."""
    found = [
        node.name
        for path in FILES
        if path.parent.name not in ("torch", "jax")
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    assert sorted(found) == sorted(set(found))


def lines(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_a_drawer_for_everything():
    names = {path.stem for path in FILES} | {path.name for path in SOURCE.rglob("*/")}
    assert not names & {"utils", "util", "common", "helpers", "helper", "misc", "base", "core"}


def test_every_file_says_what_it_holds():
    assert [path.name for path in FILES if not ast.get_docstring(tree_of(path))] == []


def test_nothing_is_unpickled_or_evaluated():
    pickles = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    for path in FILES:
        assert not {name.split(".")[0] for name in imports_of(path)} & pickles, path
        # Under their full names alone, so that the calls are seen below.
        assert not {"torch.load", "torch.save", "torch.serialization"} & set(imports_of(path)), path
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__"), path
            assert called not in ("torch.jit.load", "torch.serialization.load"), path
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("allow_pickle") in (None, "False"), path
            if called in ("torch.load", "torch.save"):
                assert place(path) == "weights/torch_pth.py", path
            if called == "torch.load":
                assert given.get("weights_only") == "True", path


def test_no_module_is_imported_by_a_name_in_a_string():
    where = {
        path.name
        for path in FILES
        for name in imports_of(path)
        if name == "importlib" or name == "importlib.import_module"
    }
    assert where == {"__init__.py"}  # the public names, at their first use


def test_no_base_classes_and_no_untyped_arguments_passed_through():
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                assert not re.match(r"_?Base[A-Z]|Abstract[A-Z]|\w+Base$", node.name), path
            kwarg = node.args.kwarg if isinstance(node, ast.FunctionDef) else None
            typed = kwarg and kwarg.annotation and "Unpack[" in ast.unparse(kwarg.annotation)
            if kwarg and not typed:
                rest = kwarg.arg
                passed = [k for call in ast.walk(node) if isinstance(call, ast.Call)
                          for k in call.keywords if k.arg is None]  # fmt: skip
                assert rest not in map(ast.unparse, (k.value for k in passed)), path


def test_the_tree_of_the_docs_shows_every_file():
    tree = (ROOT / "docs" / "tree.md").read_text(encoding="utf-8")
    shown = re.findall(r"^ +(\w+\.(?:py|j2|css|toml|html\.j2)) ", tree, re.MULTILINE)
    kinds = {".py", ".j2", ".css", ".toml"}
    there = [p.name for p in SOURCE.rglob("*") if p.suffix in kinds and p.name != "__init__.py"]
    there += ["__init__.py", *(path.name for path in (ROOT / "bench").glob("*.py"))]
    assert sorted(shown) == sorted(there)
