"""The errors of the package, a small tree. Every message is one line: what, where, what to do.

UnpairedError               exit code 2: rejected input or usage, nothing was lost
├── ConfigError             a flag, a preset or a configuration file
├── DataError               a data set: its folders, its layout, its download
│   └── ImageError          one image: unreadable, not an image, of a kind we cannot keep exactly
│       ├── SeveralFrames   one image file: several pages or an animation
│       └── TooLarge        one image: over a size limit or over the free memory
├── CheckpointError         a checkpoint or model file: damaged, foreign, of an unknown format
├── RunError                a run folder: locked, not writable, of another recipe, disk full
│   └── Diverged            the training reached NaN or infinity
├── MissingExtra            an optional dependency that is not installed
├── SomeFailed              exit code 1: some inputs failed, the rest are done
├── Interrupted             exit code 130: stopped by a signal, state saved
└── ToldElsewhere           one process of several: another tells why they end
"""

import reprlib
from typing import Literal

__all__ = [
    "LONGEST_LINE",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Diverged",
    "ImageError",
    "Interrupted",
    "MissingExtra",
    "RunError",
    "SeveralFrames",
    "SomeFailed",
    "ToldElsewhere",
    "TooLarge",
    "UnpairedError",
    "quoted",
    "reason_of",
    "shown",
]

LONGEST_LINE = 400
"""Characters of a line of a message, at most: untrusted names and values may have any number."""


class UnpairedError(Exception):
    """Root of all errors for users; command line and notebooks show them without a traceback.

    Long lines of the message lose their middle. Only errors that list something (`lists`) have
    several lines: in all others a line break comes from a name, and is shown escaped.
    """

    exit_code = 2
    lists = False

    def __init__(self, message: object = "") -> None:
        super().__init__("\n".join(map(_shortened, str(message).split("\n"))))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the message, as on the command line."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(UnpairedError):
    """A flag, a preset or a configuration file asks for something impossible."""


class DataError(UnpairedError):
    """A data set cannot be used as it is."""

    lists = True


class ImageError(DataError):
    """An image cannot be read, or only with loss."""

    lists = False


class SeveralFrames(ImageError):
    """An image file holds several frames, of which one would be used."""


class TooLarge(ImageError):
    """An image is over a size limit, or its processing needs more memory than is free."""


class CheckpointError(UnpairedError):
    """A checkpoint or model file is damaged, foreign or of an unknown format."""


class RunError(UnpairedError):
    """A run folder cannot be used as asked."""


class Diverged(RunError):
    """Training reached NaN or infinity and was stopped; the last good checkpoint remains."""


_PACKAGES = {
    "torch": ("torch",),
    "jax": ("jax", "jaxlib", "equinox", "optax"),
    "onnx": ("onnx", "onnxruntime"),
    "openvino": ("openvino", "onnx"),
    "hub": ("huggingface_hub",),
    "ray": ("ray", "pyarrow"),
}


class MissingExtra(UnpairedError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'unpaired[{extra}]'"
        )

    @staticmethod
    def of(
        error: ModuleNotFoundError,
        framework: Literal["torch", "jax", "onnx", "openvino", "hub", "ray"],
        purpose: str = "",
    ) -> Exception:
        """The exception to raise after an import for `framework`, an extra, failed with `error`.

        It is `error` itself unless a package of the extra is missing: anything else is a bug.
        `purpose` is the subject of the message; the engine by default.
        """
        if error.name not in _PACKAGES[framework]:
            return error
        return MissingExtra(error.name, framework, purpose or f"the {framework} engine")


class SomeFailed(UnpairedError):
    """Some inputs failed; the others are done. The message lists the failures."""

    exit_code = 1
    lists = True


class Interrupted(UnpairedError):
    """A signal stopped the work after its state was saved."""

    exit_code = 130


class ToldElsewhere(UnpairedError):
    """Another process of the same training tells why they end; this one is silent."""

    def __init__(self, message: object, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def shown(path: object) -> str:
    """A path or a name as messages, pages and JSON show it, in characters that can be written.

    Control characters and line breaks, and bytes that are no UTF-8, are escaped.

    >>> print(shown("one" + chr(10) + "line"), shown("caf" + chr(0xdce9)))
    one\\nline caf\\xe9
    """
    return "".join(
        c
        if c.isprintable()
        else f"\\x{ord(c) - 0xDC00:02x}"
        if "\udc80" <= c <= "\udcff"  # a byte that the file system gave
        else c.encode("unicode_escape").decode("ascii")
        for c in str(path)
    )


def quoted(value: object) -> str:
    """An untrusted value as a message shows it: its `repr`, short whatever it is.

    >>> quoted("a\\nb"), quoted("0" * 1000)
    ("'a\\\\nb'", "'00000000000000000000000000000...000000000000000000000000000000'")
    """
    try:
        return _REPR.repr(value)
    except (ValueError, RecursionError):  # a number of too many digits, lists in lists
        return f"a value of type {type(value).__name__}"


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 64
_REPR.maxlevel = 2


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    half = (LONGEST_LINE - 5) // 2
    return f"{line[:half]} ... {line[-half:]}"


def reason_of(error: Exception) -> str:
    """One line that says what an exception of the system or of a decoder means."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
