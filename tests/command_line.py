"""Words of the command line for small runs."""

from conftest import QUICK, SMALL


def flags(values):
    return [
        word
        for name, value in values.items()
        for word in ("--" + name.replace("_", "-"), str(value))
    ]


SMALL_RUN = ["--preset", "tiny", *flags(SMALL), *flags(QUICK)]
