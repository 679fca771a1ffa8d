"""`python -m unpaired`."""

import sys

from unpaired.cli import main

if __name__ == "__main__":
    sys.exit(main())
