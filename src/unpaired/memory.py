"""The memory that is free, of the machine and of the process's control groups."""

from pathlib import Path

import psutil

__all__ = ["free"]


def free() -> int:
    """Bytes that this process may still take: of the machine, and of its control group (Linux)."""
    return min([psutil.virtual_memory().available, *_free_of_groups(Path("/"))])


def _free_of_groups(root: Path) -> list[int]:
    """Bytes left under the memory limits of this process's control groups, versions 1 and 2.

    File cache counts as used there though it can be reclaimed, so the inactive part is added back.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    left = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mount, limit, usage = "sys/fs/cgroup", "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            mount, limit = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
            usage = "memory.usage_in_bytes"
        else:
            continue
        # Inside a container the group's own folder may be mounted as the root of all.
        for folder in dict.fromkeys((root / mount / group.lstrip("/"), root / mount)):
            try:
                most, used = (folder / limit).read_text(), (folder / usage).read_text()
                cached = dict(
                    row.split() for row in (folder / "memory.stat").read_text().splitlines()
                )
            except (OSError, ValueError):
                continue
            if most.strip() != "max":
                cache = cached.get("total_inactive_file", cached.get("inactive_file", 0))
                left.append(max(int(most) - int(used) + int(cache), 0))
    return left
