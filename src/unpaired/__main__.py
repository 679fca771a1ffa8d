"""`python -m unpaired`."""

import sys

from unpaired.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
