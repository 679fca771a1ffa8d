"""All trackers of a training as one: opened, told, closed; one that fails is omitted, and said."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from unpaired.config import Config
from unpaired.console import log
from unpaired.errors import Interrupted, MissingExtra, RunError, shown
from unpaired.training.trackers.git import git_state
from unpaired.training.trackers.tracker import Ending, Opening, Tracker

__all__ = ["Tracked", "open_tracked"]


class Tracked:
    """The open trackers of a run, by name."""

    def __init__(self, trackers: Mapping[str, Tracker] | None = None) -> None:
        self.trackers = dict(trackers or {})

    def numbers(self, step: int, values: Mapping[str, object]) -> None:
        """Tells the numbers among `values`, also those inside, as `outer/inner`."""
        if self.trackers and (found := _numbers("", values)):
            self._tell(lambda tracker: tracker.numbers(step, found))

    def file(self, kind: str, path: Path, step: int) -> None:
        """Tells of a file, if it was written."""
        if self.trackers and path.is_file():
            self._tell(lambda tracker: tracker.file(kind, path, step))

    def close(self, ending: Ending) -> None:
        """Closes all."""
        self._tell(lambda tracker: tracker.close(ending))
        self.trackers.clear()

    def _tell(self, told: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                told(tracker)
            except Exception as error:  # a record must not cost the training
                del self.trackers[name]
                reason = shown(str(error) or type(error).__name__)
                log.warning(f"{name} takes nothing more ({reason}): training continues without it")


@contextmanager
def open_tracked(folder: Path, config: Config) -> Iterator[Tracked]:
    """The trackers that the runtime asks for (`track`), open for a training.

    Raises:
        MissingExtra: one is not installed.
        RunError: one cannot be opened.
    """
    tracked = Tracked()
    ending: Ending = "failed"
    try:
        if config.runtime.trackers:
            values = {**vars(config.recipe), **vars(config.runtime)}
            facts = {"unpaired": version("unpaired"), **git_state(Path.cwd())}
            opening = Opening(folder, values, folder / "config.toml", facts)
            for name in config.runtime.trackers:
                tracked.trackers[name] = _open(name, opening)
        yield tracked
        ending = "finished"
    except (Interrupted, KeyboardInterrupt):
        ending = "stopped"
        raise
    finally:
        tracked.close(ending)


def _open(name: str, opening: Opening) -> Tracker:
    try:
        if name == "mlflow":
            from unpaired.training.trackers.mlflow import open_mlflow

            return open_mlflow(opening)
        from unpaired.training.trackers.wandb import open_wandb

        return open_wandb(opening)
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), name, f"--track {name}") from error
    except Exception as error:
        reason = shown(str(error) or type(error).__name__)
        raise RunError(f"--track {name} cannot begin: {reason}: train without it") from error


def _numbers(before: str, values: Mapping[str, object]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(f"{before}{name}/", value)
        elif isinstance(value, int | float):
            found[before + name] = float(value)
    return found
