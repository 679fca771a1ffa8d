"""The rate that `unpaired lr-find` suggests beside whole trainings of every rate of its ladder.

python -m bench.lr_find [DATA] [--preset tiny] [--length 300] [--whole 1500] [--seed 0]
    [--rates ...] [--out FILE]

Whole trainings have the search's first weights, batches and validation part, each its own rate, and
`--whole` steps with the preset's schedule. Printed is whether the suggestion's whole training comes
within 10 % of the lowest criterion of the ladder. A finished rate is one JSON line in OUT, and is
not trained again.
"""

import argparse
import json
import time
from pathlib import Path

from unpaired import console
from unpaired.storage import read_json_lines
from unpaired.tuning.lr_find import lr_find

WITHIN = 1.10


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="seasons-lite")
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--length", type=int, default=300)
    parser.add_argument("--whole", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3])
    parser.add_argument("--out", type=Path, default=Path("runs/lr_find.jsonl"))
    parser.add_argument("--svg", type=Path)
    asked = parser.parse_args(words)
    console.show()
    how = {"preset": asked.preset, "seed": asked.seed, "threads": 1, "workers": 1, "device": "cpu"}
    asked.out.parent.mkdir(parents=True, exist_ok=True)

    def train(rates, length):
        """The rungs of these rates, from OUT where it has them."""
        key = {"data": asked.data, "preset": asked.preset, "seed": asked.seed, "length": length}
        for rate in rates:
            known = [x for x in read_json_lines(asked.out) if key.items() <= x.items()]
            if any(x["rate"] == rate for x in known):
                continue
            began = time.process_time()
            curve = lr_find(asked.data, rates=[rate], length=length, **how)
            (rung,) = curve.to_dict()["rungs"]
            line = key | rung | {"processor_seconds": round(time.process_time() - began, 1)}
            with asked.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
        found = [x for x in read_json_lines(asked.out) if key.items() <= x.items()]
        return {x["rate"]: x for x in found if x["rate"] in rates}

    curve = lr_find(asked.data, rates=asked.rates, length=asked.length, **how)
    print(curve.to_text(), flush=True)
    if asked.svg:
        asked.svg.write_text(curve.to_svg())
    whole = train(asked.rates, asked.whole)
    for rate, rung in whole.items():
        print(f"whole training, {asked.whole} steps, rate {rate:.2g}: {rung['criterion']}")
    best = min(x["criterion"] for x in whole.values() if x["criterion"] is not None)
    if curve.suggestion is not None:
        own = whole[curve.suggestion]["criterion"]
        close = own is not None and own <= WITHIN * best
        print(f"suggestion {curve.suggestion:.2g}: {own} beside the best {best}, within: {close}")


if __name__ == "__main__":
    main()
