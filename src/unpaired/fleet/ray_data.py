"""`unpaired fleet`: the images below a folder or URL, on Ray Data.

Each actor loads the model once and does all of an image: read, decode, translate, encode, write.
What goes through Ray are names. Ray may run a batch again after it was written: outputs have the
same names and bytes, and a batch that has its part of the manifest is not done again.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from numpy.typing import NDArray

from unpaired.console import log, progress
from unpaired.errors import ConfigError, RunError, UnpairedError
from unpaired.fleet.job import Outcome, Plan, plan_shard, scratch_of
from unpaired.fleet.manifest import missing
from unpaired.fleet.one import Translation
from unpaired.fleet.parquet import decode, encode, merge, read_manifest
from unpaired.fleet.pipeline import run
from unpaired.fleet.places import LocalPlace, Place, open_place
from unpaired.fleet.record import confirm
from unpaired.fleet.shards import Item, Shard
from unpaired.storage import exclusive
from unpaired.translation.model import load
from unpaired.translation.scratch import scratch_folder

__all__ = ["Cluster", "run_fleet"]

Columns: TypeAlias = Mapping[str, NDArray[Any]]
_AGAIN = ": the same command does what is missing"
_BLOCKS_AN_ACTOR, _MOST_ROWS = 20, 1024  # so many blocks, of so many names
_TASKS = 4  # blocks that wait at an actor, so that it need not wait for a busy driver


@dataclass(frozen=True)
class Cluster:
    """What a job takes of a cluster.

    Attributes:
        address: of the user's cluster; empty: that of RAY_ADDRESS, else one of its own here.
        actors: their number, (least, most); each loads the model once.
        cpus, gpus: of an actor; its threads are its CPUs.
        memory: bytes that Ray sets aside for an actor; 0: none.
        object_store: bytes of the object store of a cluster of its own; 0: as Ray chooses.
        batch: images a batch: so many are done again when an actor is killed, at most.
        tasks: blocks of names that wait at an actor; 0: four.
    """

    address: str = ""
    actors: tuple[int, int] = (1, 1)
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    object_store: int = 0
    batch: int = 16
    tasks: int = 0

    def __post_init__(self) -> None:
        least, most = self.actors
        if not 1 <= least <= most:
            raise ConfigError(f"--actors is {least} {most}: give the least and the most, from 1 on")
        if self.batch < 1 or min(self.cpus, self.gpus, self.memory, self.object_store) < 0:
            raise ConfigError("--batch is at least 1, and resources are at least 0")


@dataclass(frozen=True)
class JobOrder:
    """What an actor is told: places, the model's file in the destination, options, the run."""

    source: str
    out: str
    model: str
    fingerprint: str
    loading: Mapping[str, Any]
    options: Mapping[str, Any]
    parts: str
    run: str


class Actor:
    """Translates batches of names, in a process of Ray's."""

    def __init__(self, work: JobOrder) -> None:
        self.work = work
        self.source, self.out = open_place(work.source), open_place(work.out)
        self.held = contextlib.ExitStack()  # until the process ends; a killed one's is swept
        if isinstance(self.out, LocalPlace):
            self.scratch = self.held.enter_context(scratch_folder(self.out.root, []))
        else:
            folder = tempfile.TemporaryDirectory(prefix="unpaired-")
            self.scratch = Path(self.held.enter_context(folder))
        fetched = self.out.fetch(work.model, None, self.scratch)
        self.translation = Translation.of(load(fetched, **work.loading), **work.options)
        self.out.drop(fetched)
        if self.translation.fingerprint != work.fingerprint:
            raise RunError(f"{work.out}/{work.model} is not the model of this job: start again")

    def __call__(self, batch: Columns) -> dict[str, Any]:
        """Translates a batch, and writes its part of the manifest."""
        names = [str(name) for name in batch["name"]]
        key = hashlib.blake2b("\n".join([self.work.run, *names]).encode("utf-8", "surrogatepass"))
        part = f"{self.work.parts}/{key.hexdigest()[:32]}.parquet"
        known = self.out.read(part)
        if known is not None:  # Ray runs the batch again
            rows = decode(known, part)
        else:
            sizes = [None if size < 0 else int(size) for size in batch["size"]]
            items = map(Item, names, sizes, map(str, batch["output"]))
            rows = list(run(self.translation, items, self.source, self.out, self.scratch))
            self.out.write(part, encode(rows))
        return {key: [getattr(row, key) for row in rows] for key in ("name", "status", "error")}


def run_fleet(
    path: str | Path,
    source: str,
    out: str,
    shard: Shard,
    cluster: Cluster,
    loading: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Outcome:
    """Translates what is missing of the images below `source` with the model at `path`.

    `loading` are the keywords of `load`, `options` those of `Translation.of`. The model and the
    manifest are kept in `out`; what counts as done is as for `translate_shard`.

    Raises:
        ConfigError, DataError, RunError: as `plan_shard`; or the cluster cannot be reached, or has
            failed.
    """
    here = dict(loading) | {"device": "cpu", "threads": 1}
    translation = Translation.of(load(path, **here), **options)
    plan = plan_shard(source, out, translation, shard, "parquet")
    stem = f"manifest-{shard.index}-of-{shard.count}" if shard.count > 1 else "manifest"
    name, parts = f"{stem}.parquet", f"{stem}-parts"
    with _alone(plan.out, name):
        return _run_plan(plan, translation, shard, cluster, (name, parts), loading, options)


def _run_plan(
    plan: Plan,
    translation: Translation,
    shard: Shard,
    cluster: Cluster,
    manifest: tuple[str, str],
    loading: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Outcome:
    name, parts = manifest
    rows = read_manifest(plan.out, name, _parts(plan.held, parts))
    left = [
        item
        for item in plan.items
        if missing(
            rows.get(item.name), item.size, plan.held.get(item.output), translation.fingerprint
        )
    ]
    outcome = Outcome(f"{plan.out}/{name}", before=len(plan.items) - len(left))
    with scratch_of(plan) as scratch:
        translation.require_formats(left, scratch)
    if outcome.before:
        log.info(f"{outcome.before:,} of {len(plan.items):,} images are done already")
    if left:
        model = translation.model.path
        kept = f"model-{translation.fingerprint[:12]}{model.suffix}"
        if kept not in plan.held:
            plan.out.write(kept, model.read_bytes())
        work = JobOrder(
            source=_absolute(plan.source), out=_absolute(plan.out), model=kept,
            fingerprint=translation.fingerprint, loading=loading, options=options, parts=parts,
            run=secrets.token_hex(8),
        )  # fmt: skip
        _drive(work, left, cluster, outcome, len(plan.items))
    merge(plan.out, name, _parts(plan.out.sizes(), parts))
    with scratch_of(plan):  # sweeps what killed actors left
        confirm(plan.out, translation, shard.count, "parquet")
    return outcome


def _drive(
    work: JobOrder, left: Sequence[Item], cluster: Cluster, outcome: Outcome, total: int
) -> None:
    """Runs the job, and counts what comes back.

    Raises:
        RunError: the cluster cannot be reached, or has failed.
    """
    try:
        with _connected(cluster), progress("images", total, first=outcome.before) as shown:
            rows = _blocks(left, cluster)
            least, most = (min(count, len(rows)) for count in cluster.actors)
            strategy = ray.data.ActorPoolStrategy(
                min_size=least,
                max_size=most,
                max_tasks_in_flight_per_actor=cluster.tasks or _TASKS,
            )
            results = ray.data.from_arrow(rows).map_batches(
                Actor,
                fn_constructor_args=(work,),
                compute=strategy,
                batch_size=cluster.batch,
                num_cpus=cluster.cpus,
                num_gpus=cluster.gpus or None,
                memory=cluster.memory or None,
            )
            for batch in results.iter_batches(batch_size=None, batch_format="numpy"):
                for name, status, error in zip(*batch.values(), strict=True):
                    outcome.count(str(name), str(error) if status == "failed" else "")
                shown.update(outcome.before + outcome.done + len(outcome.failed))
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(f"the Ray job ended: {_reason(error)}{_AGAIN}") from error


def _blocks(left: Sequence[Item], cluster: Cluster) -> list[pa.Table]:
    """The names in blocks of whole batches: enough of them for every actor, none too small."""
    share = len(left) // (cluster.actors[1] * _BLOCKS_AN_ACTOR)
    rows = max(min(share, _MOST_ROWS) // cluster.batch, 1) * cluster.batch
    return [
        pa.table(
            {
                "name": [item.name for item in block],
                "size": [-1 if item.size is None else item.size for item in block],
                "output": [item.output for item in block],
            }
        )
        for block in (left[start : start + rows] for start in range(0, len(left), rows))
    ]


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[None]:
    """Connects to the user's cluster, or starts one here, which says and reports nothing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its warnings are for its developers
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {
            "num_cpus": max(cluster.cpus * cluster.actors[1] + 1, os.cpu_count() or 1),
            "include_dashboard": False,
            "object_store_memory": cluster.object_store or None,
        }
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
    over = threading.Event()
    if address == "local":
        threading.Thread(target=_watch, args=(over,), daemon=True).start()
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield
    finally:
        over.set()
        ray.shutdown()


def _watch(over: threading.Event) -> None:
    """Ends the process when the raylet started here is killed: Ray would, with exit code 1."""
    raylets = [p for p in psutil.Process().children(recursive=True) if "raylet" in p.name()]
    while raylets and not over.wait(0.1):
        alive = [p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in raylets]
        if not all(alive) and not over.is_set():
            os.write(2, f"unpaired: the Ray job ended: its raylet was killed{_AGAIN}\n".encode())
            os._exit(2)


def _alone(place: Place, name: str) -> contextlib.AbstractContextManager[None]:
    """Holds the manifest of a local destination for one job; an object store has no locks."""
    return (
        exclusive(place.root, name) if isinstance(place, LocalPlace) else contextlib.nullcontext()
    )


def _absolute(place: Place) -> str:
    return str(place.root.absolute()) if isinstance(place, LocalPlace) else place.url


def _parts(held: Mapping[str, Any], folder: str) -> list[str]:
    return sorted(n for n in held if n.startswith(f"{folder}/") and n.endswith(".parquet"))


def _reason(error: BaseException | None) -> str:
    """What an error of Ray's says in one line: its innermost cause that says something."""
    said = type(error).__name__
    while error is not None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        if isinstance(error, UnpairedError):
            return str(error)
        said = lines[-1] if lines else said
        error = getattr(error, "cause", None) or error.__cause__
    return said
