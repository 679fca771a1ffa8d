"""Running a server: its sockets, its processes, and its end."""

import asyncio
import contextlib
import re
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unpaired.console import counted, log
from unpaired.errors import ConfigError, MissingExtra, reason_of
from unpaired.hub.download import HubAddress, is_hub
from unpaired.images.formats import FORMATS
from unpaired.serving.limits import ServeLimits
from unpaired.serving.messages import Settings

if TYPE_CHECKING:
    from unpaired.serving.front.store import Store

__all__ = ["Address", "Running", "name_models", "start"]

_PACKAGES = ("starlette", "uvicorn", "prometheus_client", "python_multipart", "anyio", "h11")
_SHORTEST_TOKEN = 16
_TICK, _SHORT_TICK = 0.5, 0.05  # seconds
_FETCH_SECONDS = 5.0  # at the end, for clients that have not yet fetched their results


@dataclass(frozen=True)
class Address:
    """Where a server listens and whom it lets in.

    Raises:
        ConfigError: an address of other machines without a token, unless that is `insecure`; a
            token that is too short or cannot be read.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token_file: Path | None = None
    insecure: bool = False
    allow_host: tuple[str, ...] = ()
    allow_origin: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.loopback or self.token_file or self.insecure):
            raise ConfigError(
                f"--host {self.host} lets other machines in: give --token-file FILE with a secret, "
                "or --insecure if everybody may use the server"
            )

    @property
    def loopback(self) -> bool:
        """Whether only programs on this machine reach it."""
        return self.host in ("127.0.0.1", "::1", "localhost")

    def token(self) -> str:
        """The token, or "" where none is asked for."""
        if self.token_file is None:
            return ""
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = reason_of(error)
            raise ConfigError(f"cannot read --token-file {self.token_file}: {reason}") from error
        if len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
            raise ConfigError(
                f"--token-file {self.token_file}: give at least {_SHORTEST_TOKEN} ASCII characters "
                "in one line, for example of `openssl rand -hex 16`"
            )
        return token


def name_models(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The models of a server as (name, path), from PATH or NAME=PATH each.

    Without a name it is that of the run folder, of the file, or of the repository on a hub.

    >>> name_models(["runs/seasons", "fog=runs/old/model.safetensors", "hf://ann/maps@v1"])
    (('seasons', 'runs/seasons'), ('fog', 'runs/old/model.safetensors'), ('maps', \
'hf://ann/maps@v1'))

    Raises:
        ConfigError: none, two of one name, or a path that is missing.
    """
    models: dict[str, str] = {}
    for word in given:
        name, equals, path = word.partition("=")
        if not equals or not re.fullmatch(r"[\w.-]+", name):
            path, name = word, _name_of(word)
        if name in models:
            raise ConfigError(f"two models are named {name}: give one as NAME={path}")
        models[name] = path
    if not models:
        raise ConfigError("no model: give a run folder")
    return tuple(models.items())


def _name_of(path: str) -> str:
    """The name of a model: of its repository on a hub, its run folder, or its file."""
    if is_hub(path):
        return HubAddress.parse(path).name
    file = Path(path)
    by_folder = file.suffix == "" or file.stem in ("model", "best")
    known = file if file.suffix == "" else file.parent if by_folder else Path(file.stem)
    return re.sub(r"[^\w.-]", "-", known.resolve().name) or "model"


def start(
    models: Sequence[tuple[str, str]],
    workers: Sequence[Settings],
    limits: ServeLimits,
    address: Address,
) -> "Running":
    """A server of models that listens; `Running.run` does the rest.

    `workers` has the settings of each worker, one a device.

    Raises:
        ConfigError: the address is in use or not of this machine, or the token cannot be read.
        MissingExtra: what a server needs is not installed.
    """
    _require_extra()
    token = address.token()
    if not (address.loopback or token):
        log.warning("everybody who reaches %s may use this server", address.host)
    return Running(dict(models), tuple(workers), limits, address, token, _listen(address))


@dataclass(eq=False)
class Running:
    """A server: `run` until `stop` is called or a signal comes."""

    models: dict[str, str]
    workers: tuple[Settings, ...]
    limits: ServeLimits
    address: Address
    token: str
    socket: socket.socket
    ended: bool = False

    @property
    def url(self) -> str:
        """Its address for a browser on this machine."""
        host, port = self.socket.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self, *, signals: bool = True) -> None:
        """Serves until SIGTERM, Ctrl-C or `stop`; accepted jobs are finished first.

        Without `signals`, those of the process are left alone.

        Raises:
            RunError: a model cannot be loaded; the reason is that of its worker.
        """
        from unpaired.serving.front.app import Front, make_app
        from unpaired.serving.front.connection import make_server
        from unpaired.serving.front.dispatcher import Dispatcher
        from unpaired.serving.front.guard import Access
        from unpaired.serving.front.metrics import Metrics
        from unpaired.serving.front.store import Store

        _allow_files(self.limits.connections)
        self._stopping, self._at_once = asyncio.Event(), False
        store, metrics = Store(self.limits), Metrics()
        self.dispatcher = dispatcher = Dispatcher(self.workers, self.limits, store, metrics)
        access = Access(
            hosts=frozenset({"localhost", self.address.host, *self.address.allow_host}),
            any_address=not self.address.loopback,
            origins=frozenset(self.address.allow_origin),
            token=self.token,
        )
        samples = {name: _samples(path) for name, path in self.models.items()}
        front = Front(
            self.limits, store, dispatcher, metrics, access, samples, _formats(), _metadata()
        )
        server = make_server(make_app(front), self.limits)
        metrics.watch("waiting_jobs", "Jobs that wait", lambda: len(dispatcher.turns))
        metrics.watch("unfinished_jobs", "Jobs under way", lambda: len(dispatcher.unfinished))
        metrics.watch("store_bytes", "Bytes in the store", lambda: store.used)
        metrics.watch("connections", "Open connections", lambda: server.connections)
        metrics.watch("seconds_an_image", "As measured lately", lambda: dispatcher.seconds)
        metrics.watch("worker_restarts", "Workers that died", lambda: dispatcher.restarts)
        if signals:
            self._handle_signals()
        tasks = [asyncio.create_task(worker.run()) for worker in dispatcher.workers]
        serving = asyncio.create_task(server.serve([self.socket]))
        ticking = asyncio.create_task(self._tick(store))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            announced = asyncio.create_task(self._announce())
            await asyncio.wait((*tasks, serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()  # raises: its first start failed
            await self._drain()
        finally:
            for each in (ticking, stopping, announced):
                each.cancel()
            server.should_exit = True
            with contextlib.suppress(Exception):
                await serving
            await asyncio.gather(*(worker.close() for worker in dispatcher.workers))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            store.close()
            self.ended = True

    def stop(self) -> None:
        """Ends it as SIGTERM does; from its own event loop."""
        self._stopping.set()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            log.warning("stopped at once: unfinished jobs are lost")
            self._at_once = True
        self._stopping.set()

    async def _announce(self) -> None:
        for worker in self.dispatcher.workers:
            await worker.ready.wait()
        names = ", ".join(self.models)
        log.info(f"{counted(len(self.models), 'model')} ({names}) at {self.url}")

    async def _tick(self, store: "Store") -> None:
        while True:
            await asyncio.sleep(_TICK)
            for worker in self.dispatcher.workers:
                worker.check()
            store.expire()

    async def _drain(self) -> None:
        """Finishes what was accepted, within the time for it, and lets results be fetched."""
        self.dispatcher.draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + self.limits.drain_seconds
        jobs = list(self.dispatcher.unfinished.values())
        if jobs:
            log.info(f"ending: {counted(len(jobs), 'job')} to finish first")
        while self.dispatcher.unfinished and loop.time() < until and not self._at_once:
            await asyncio.sleep(_SHORT_TICK)
        until = min(until, loop.time() + _FETCH_SECONDS)
        while not all(job.fetched for job in jobs) and loop.time() < until and not self._at_once:
            await asyncio.sleep(_SHORT_TICK)


def _require_extra() -> None:
    try:
        import unpaired.serving.front.app
        import unpaired.serving.front.connection  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise MissingExtra(error.name, "serve", "a server") from error


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = reason_of(error)
        raise ConfigError(
            f"cannot listen at {address.host} port {address.port} ({reason}): choose another --port"
        ) from error
    return listening


def _allow_files(connections: int) -> None:
    """Raises this process's limit of open files, as far as it may, to so many connections."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 2 * connections + 200
        if soft < wanted:
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _samples(path: str) -> list[Path]:
    """The images of progress in a run folder, oldest first."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return sorted((folder / "samples").glob("step-*.png"))[-20:]


def _formats() -> dict[str, list[str]]:
    return {
        "input": [format.name for format in FORMATS if format.driver != "VRT"],
        "output": [format.suffixes[0][1:] for format in FORMATS if format.written],
    }


def _metadata() -> str:
    from unpaired.serving.worker.metadata import POLICY

    return POLICY
