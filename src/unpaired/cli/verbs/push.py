"""`unpaired push`."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from unpaired.cli.flags import shown

__all__ = ["push"]


def push(
    model: Annotated[Path, Positional, shown("a run folder, a model or a checkpoint", "MODEL")],
    to: Annotated[str, Positional, shown("owner and name on the hub", "OWNER/NAME")],
    licence: Annotated[
        str, shown("licence of the weights, such as cc-by-4.0, apache-2.0 or other", "ID")
    ],
    samples: Annotated[
        bool, shown("push the newest sample grid too, if the licence of its images allows it")
    ] = False,
    private: Annotated[bool, shown("create the repository as a private one")] = False,
    out: Annotated[
        Path | None, shown("write the files into this folder instead, to look at them", "FOLDER")
    ] = None,
) -> None:
    """Push a model and a card written from its run to a hub (extra hub)."""
    from unpaired.hub.push import push as run

    pushed = run(model, to, licence=licence, samples=samples, private=private, out=out)
    if out is not None:
        for name in pushed.files:
            print(out / name)
        return
    print(pushed.address)
