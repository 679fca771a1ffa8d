"""MLflow: a store in the run folder, or that of MLFLOW_TRACKING_URI."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unpaired.storage import write_text
from unpaired.training.trackers.tracker import Ending, Opening

__all__ = ["MlflowTracker", "open_mlflow"]

_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_AT_ONCE = 100  # parameters: the most that a store takes


class MlflowTracker:
    """An open run of MLflow."""

    def __init__(self, client: Any, run: str) -> None:
        self.client, self.run = client, run

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics, by their names."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, float(value), now, step) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def file(self, kind: str, path: Path, step: int) -> None:
        """Artifacts, in a folder of their kind."""
        self.client.log_artifact(self.run, str(path), kind)

    def close(self, ending: Ending) -> None:
        """Ends the run."""
        self.client.set_terminated(self.run, _STATUS[ending])


def open_mlflow(opening: Opening) -> MlflowTracker:
    """Begins a run, or goes on with that of the run folder, which has its id.

    MLflow's own telemetry is switched off before it is imported.

    Raises:
        ModuleNotFoundError: MLflow, or what its local store needs, is not installed.
        Exception: whatever the store raises.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # else it tells of tables it creates
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient
    from mlflow.entities import Param

    here = opening.folder.resolve() / "mlflow"
    here.mkdir(parents=True, exist_ok=True)
    local = f"sqlite:///{(here / 'mlflow.db').as_posix()}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or local
    client = MlflowClient(tracking_uri=uri)
    run = _known(client, here / "run", uri)
    if run is None:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "unpaired"
        found = client.get_experiment_by_name(name)
        files = (here / "artifacts").as_uri() if uri == local else None
        experiment = found.experiment_id if found else client.create_experiment(name, files)
        run = str(client.create_run(experiment, run_name=opening.folder.resolve().name).info.run_id)
        write_text(here / "run", f"{uri}\n{run}\n")
        params = [Param(name, str(value)) for name, value in opening.values.items()]
        for first in range(0, len(params), _AT_ONCE):
            client.log_batch(run, params=params[first : first + _AT_ONCE])
    for name, fact in opening.facts.items():
        client.set_tag(run, name, fact)
    client.log_artifact(run, str(opening.config))
    return MlflowTracker(client, run)


def _known(client: Any, path: Path, uri: str) -> str | None:
    """The run that the folder has in this store, running again; None if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        store, run = path.read_text(encoding="utf-8").split()
        if store != uri:
            return None
        client.update_run(run, "RUNNING")
    except (OSError, ValueError, MlflowException):
        return None
    return run
