"""What the system says of the machine and of a process: processor, load, peak memory."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from unpaired.engines.processor import instructions

__all__ = ["cores", "forget_peak", "load", "memory", "peak", "processor", "resident"]

# Instructions that decide how fast convolutions are, as Linux names them.
_TOLD = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_int8", "avx512_vnni", "asimd", "bf16")


def processor() -> str:
    """The processor's name, and those of its instructions that matter here.

    >>> len(processor()) > 0
    True
    """
    name, flags = "", instructions()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = name or value.strip()
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
            name = done.stdout.strip()
    told = ", ".join(flag for flag in _TOLD if flag in flags)
    name = name or platform.processor() or platform.machine() or "unknown processor"
    return f"{name} ({told})" if told else name


def load() -> float:
    """How busy the machine is: the mean number of running processes in the last minute.

    0 where the system does not say, as on Windows.
    """
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def memory() -> int:
    """Bytes of the machine's memory."""
    whole: int = psutil.virtual_memory().total
    return whole


def resident() -> int:
    """Bytes of this process that are in memory."""
    bytes_: int = psutil.Process().memory_info().rss
    return bytes_


def forget_peak() -> None:
    """Lets `peak` begin at what is resident now. Linux alone can; elsewhere it does nothing."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes of this process that were in memory at most.

    Linux's `getrusage` counts the parent too, so its own file is read there.
    """
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    windows: int | None = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if windows is not None:
        return windows
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
