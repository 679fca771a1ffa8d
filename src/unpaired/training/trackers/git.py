"""The state of git where a training is started."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

__all__ = ["git_state"]

_SECONDS = 10.0


def git_state(folder: Path) -> Mapping[str, str]:
    """The commit and whether files differ from it; empty outside a repository or without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    state = "unknown" if changed is None else "changed" if changed else "clean"
    return {"git_commit": commit, "git_state": state}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
