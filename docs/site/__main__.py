"""`python -m docs.site`: the pages put together, then built; a warning is an error."""

import os
import subprocess
import sys
from pathlib import Path

from docs.site.assemble import assemble

ROOT = Path(__file__).parents[2]


def main() -> int:
    """The exit code of the build."""
    assemble(ROOT, ROOT / "build" / "docs")
    # The theme tells of its successor otherwise: docs/decisions.md.
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "--quiet"]
    return subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, env=quiet).returncode


if __name__ == "__main__":
    sys.exit(main())
