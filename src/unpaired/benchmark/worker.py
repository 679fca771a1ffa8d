"""Both ends of a contestant's process: `Worker` asks, `main` computes, times and answers.

Requests and answers are lines of JSON on its standard input and output. A process that is told
nothing more ends.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from unpaired.benchmark.rows import Contestant, Work
from unpaired.config import Runtime
from unpaired.errors import RunError, UnpairedError, reason_of
from unpaired.memory import free

__all__ = ["Answer", "Worker", "main"]

Answer = Mapping[str, Any]


class Worker:
    """A contestant in a process of its own, which begins to import its framework at once.

    Every method raises RunError where the contestant cannot: its reason, or that it was killed,
    which the system does where memory runs out.
    """

    def __init__(self, work: Work | None, contestant: Contestant, runtime: Runtime) -> None:
        self.contestant = contestant
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "unpaired.benchmark.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            # JAX would take most of a GPU's memory at once, which is then neither measured nor left
            # to others.
            env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            text=True,
        )
        self._ask(
            work=work and dataclasses.asdict(work),
            contestant=dataclasses.asdict(contestant),
            runtime=dataclasses.asdict(runtime),
        )

    def imported(self) -> None:
        """Waits until its framework is imported."""
        self._answer()

    def begin(self) -> Answer:
        """Builds the contestant and has it compute its work for the first time.

        After `imported`.

        Returns:
            `seconds` of both together; `method`, the way to compute that it chose after that, if
            it has several; and of a product what it runs on (contestants.settled).
        """
        self._ask(begin=True)
        return self._answer()

    def turn(self, repeats: int) -> Answer:
        """Computes the work `repeats` times.

        Returns:
            Of one time, on average, the `seconds` of the clock and of the `processor`; `peak`, the
            bytes it held at most until now, and `free`, those that its device still has; of a
            product, its `flops`.
        """
        self._ask(repeats=repeats)
        return self._answer()

    def _ask(self, **request: object) -> None:
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it has ended: the answer will tell why
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def _answer(self) -> Answer:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise RunError(self._end())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunError(answer["error"])
        return answer

    def _end(self) -> str:
        """Why the process ended."""
        if self.process.returncode == -getattr(signal, "SIGKILL", 9):
            return "its process was killed, as systems do when memory runs out"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"its process ended with code {self.process.returncode}: {said}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(BrokenPipeError):  # a request that nobody read
                if file:
                    file.close()


def main() -> None:
    """Serves the requests of a `Worker`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the whole group: our parent ends us
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        _serve(answer)
    except UnpairedError as error:
        answer(error=str(error))
    except Exception as error:
        answer(error=reason_of(error))
        raise


def _serve(answer: Any) -> None:
    from unpaired.benchmark import contestants, machine

    request = json.loads(sys.stdin.readline())
    work = Work(**request["work"]) if request["work"] else None
    contestant, runtime = Contestant(**request["contestant"]), Runtime(**request["runtime"])
    contestants.import_framework(contestant)
    before = machine.resident()
    answer(imported=True)

    if not sys.stdin.readline():
        return
    began = time.perf_counter()
    ready = contestants.prepare(work, contestant, runtime)
    machine.forget_peak()  # that of drawing the first weights
    ready.finish(ready.call())
    seconds = time.perf_counter() - began
    method = ready.settle()
    if method:
        machine.forget_peak()  # that of other methods
    answer(seconds=seconds, method=method, **({} if work else contestants.settled(runtime)))

    for line in sys.stdin:
        repeats = json.loads(line)["repeats"]
        began, used = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            result = ready.call()
        ready.finish(result)
        seconds = (time.perf_counter() - began) / repeats
        processor = (time.process_time() - used) / repeats
        peak, left = ready.held() or (machine.peak() - before, free())
        answer(seconds=seconds, processor=processor, peak=peak, free=left, flops=ready.flops)


if __name__ == "__main__":
    main()
