"""The reference of the Python interface: the public names, whose docstrings mkdocstrings reads."""

import unpaired

ABOUT = """# Python
What `import unpaired` offers. The library is silent; `unpaired.console.show()` shows lines and
progress as the command line does. Frameworks are imported at the first use of what needs them.

`train` takes every value of the recipe and of the runtime as a keyword: `--image-size 64` of the
[command line](command-line.md#unpaired-train) is `image_size=64`.
"""
FIRST = ("train", "load", "Model", "evaluate", "compare", "Report", "Run", "lr_find", "bench")
MODULES = ("console", "errors")
FURTHER = {
    "unpaired.fleet.one": "The worker of any cluster: see [fleets.md](../fleets.md).",
}


def write_python_api() -> str:
    """The page, in Markdown with the marks of mkdocstrings."""
    modules = unpaired._MODULES
    rest = [name for name in unpaired.__all__ if name not in FIRST + MODULES]
    parts = [ABOUT]
    for name in (*FIRST, *rest):
        parts.append(f"::: {modules[name]}.{name}\n")
    parts += [f"::: unpaired.{name}\n" for name in MODULES]
    parts.append("## Further\n")
    for name, about in FURTHER.items():
        parts.append(f"{about}\n\n::: {name}\n    options:\n      heading_level: 3\n")
    return "\n".join(parts)
