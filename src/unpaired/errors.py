"""What can go wrong, as a small tree. Every message is one line: what, where, what to do.

UnpairedError               exit code 2: refused input or usage, nothing was lost
├── ConfigError             a flag, a preset or a configuration file
├── DataError               a data set: its folders, its layout, its download
│   └── ImageError          one image: unreadable, not an image, of a kind we cannot keep exactly
│       └── TooLarge        one image: over a size limit or over the memory that is free
├── CheckpointError         a checkpoint or model file: damaged, foreign, of an unknown format
├── RunError                a run folder: locked, not writable, of another recipe, disk full
│   └── Diverged            the training reached NaN or infinity
├── MissingExtra            an optional dependency that is not installed
├── SomeFailed              exit code 1: some inputs failed, the rest are done
└── Interrupted             exit code 130: stopped by a signal, state saved
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Diverged",
    "ImageError",
    "Interrupted",
    "MissingExtra",
    "RunError",
    "SomeFailed",
    "TooLarge",
    "UnpairedError",
]


class UnpairedError(Exception):
    """Root of all errors meant for users; the command line prints them without a traceback."""

    exit_code = 2


class ConfigError(UnpairedError):
    """A flag, a preset or a configuration file asks for something that cannot be."""


class DataError(UnpairedError):
    """A data set cannot be used as it is."""


class ImageError(DataError):
    """An image cannot be read, or not without loss."""


class TooLarge(ImageError):
    """An image is over a size limit, or needs more memory than is free."""


class CheckpointError(UnpairedError):
    """A checkpoint or model file is damaged, foreign or of an unknown format."""


class RunError(UnpairedError):
    """A run folder cannot be used as asked."""


class Diverged(RunError):
    """Training reached NaN or infinity and was stopped; the last good checkpoint stands."""


class MissingExtra(UnpairedError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed: pip install 'unpaired[{extra}]'"
        )


class SomeFailed(UnpairedError):
    """Some inputs failed; the others are done. The message lists the failures."""

    exit_code = 1


class Interrupted(UnpairedError):
    """A signal stopped the work after its state was saved."""

    exit_code = 130
