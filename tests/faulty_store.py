"""A store for tests, `faulty://`: files of a folder behind fsspec, which count calls and fail.

It is told by the environment, so that processes which import it as a plug-in have it too:
STORE_ROOT is the folder, STORE_LOG a file for a line a call, STORE_FAULTS the share of calls that
fail. One path fails at most three times in a row. Faults: a timeout before or after the work was
done, 503, and reads that are cut short without a word.
"""

import os
import random
import secrets
import threading
from collections import Counter
from pathlib import Path
from typing import ClassVar

import fsspec
from fsspec.exceptions import FSTimeoutError
from fsspec.spec import AbstractFileSystem

IN_A_ROW = 3


class Store(AbstractFileSystem):
    protocol = "faulty"
    cachable = False
    told: ClassVar = Counter()  # faults by kind, and by verb
    broken: ClassVar = {}  # an exception for each path that never works, in this process
    _in_a_row: ClassVar = Counter()
    _lock = threading.Lock()
    _rng = random.Random()

    def _real(self, path):
        return Path(os.environ["STORE_ROOT"], self._strip_protocol(path))

    def _fault(self, verb, path, kinds):
        if log := os.environ.get("STORE_LOG"):
            with open(log, "a") as file:
                file.write(f"{verb} {path}\n")
        if path in self.broken:
            raise self.broken[path]
        with self._lock:
            fails = self._rng.random() < float(os.environ.get("STORE_FAULTS", "0"))
            if not fails or self._in_a_row[path] >= IN_A_ROW:
                self._in_a_row[path] = 0
                return ""
            self._in_a_row[path] += 1
            kind = kinds[self.told[verb] % len(kinds)]
            self.told[verb] += 1
            self.told[kind] += 1
        if kind == "503":
            raise OSError(f"503: please reduce your request rate: {path}")
        if kind == "timeout":
            raise FSTimeoutError
        return kind

    def ls(self, path, detail=True, **more):
        self._fault("ls", path, ["503", "timeout"])
        real = self._real(path)
        if not real.is_dir():
            raise FileNotFoundError(path)
        found = [self._info(f"{self._strip_protocol(path)}/{p.name}") for p in real.iterdir()]
        return found if detail else [facts["name"] for facts in found]

    def _info(self, path):
        real = self._real(path)
        kind = "directory" if real.is_dir() else "file"
        return {"name": path.lstrip("/"), "size": real.stat().st_size, "type": kind}

    def info(self, path, **more):
        self._fault("info", path, ["503", "timeout"])
        return self._info(self._strip_protocol(path))

    def cat_file(self, path, start=None, end=None, **more):
        kind = self._fault("cat", path, ["short", "503", "timeout"])
        content = self._real(path).read_bytes()
        return content[: len(content) // 2] if kind == "short" else content

    def get_file(self, rpath, lpath, **more):
        kind = self._fault("get", rpath, ["short", "503", "timeout"])
        content = self._real(rpath).read_bytes()
        Path(lpath).write_bytes(content[: len(content) // 2] if kind == "short" else content)

    def put_file(self, lpath, rpath, **more):
        self.pipe_file(rpath, Path(lpath).read_bytes(), verb="put")

    def pipe_file(self, path, value, mode="overwrite", verb="pipe", **more):
        kind = self._fault(verb, path, ["late timeout", "503", "timeout"])
        real = self._real(path)
        real.parent.mkdir(parents=True, exist_ok=True)
        temporary = real.parent / f".{secrets.token_hex(8)}"
        temporary.write_bytes(value)
        temporary.replace(real)
        if kind == "late timeout":
            raise FSTimeoutError

    def rm_file(self, path):
        self._fault("rm", path, ["503", "timeout"])
        self._real(path).unlink()


def install():
    fsspec.register_implementation("faulty", Store, clobber=True)


def plug_in(folder):
    """Writes what makes it a plug-in of processes that have `folder` on their path; the paths."""
    facts = folder / "faulty_store-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty-store\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[fsspec.specs]\nfaulty = faulty_store:Store\n")
    return os.pathsep.join([str(folder), str(Path(__file__).parent)])
