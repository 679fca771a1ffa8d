"""Translations of several models beside each other, as one image: sources, models, truth.

python -m bench.beside DATA RUN [RUN ...] --out FILE.png [--to NAME] [--images 8] [--side 64]

The first test images of the source domain, as squares of `--side` pixels (by default those of the
first model's crops). A column is named after its run folder. The last has the true translations,
where the data set says that images of one name are pairs.
"""

import argparse
from pathlib import Path

import numpy as np

from unpaired.config import DEFAULT_MAX_PIXELS
from unpaired.data.batches import load_whole
from unpaired.data.crops import DomainReader
from unpaired.data.source import find_source
from unpaired.directions import source_of, target_of
from unpaired.images.grid import draw_grid
from unpaired.translation.model import load


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--to")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--side", type=int)
    asked = parser.parse_args(words)
    models = {run.name: load(run) for run in asked.runs}
    first = next(iter(models.values()))
    recipe = first.config.recipe
    data = find_source(asked.data, need_train=False)
    direction = first.direction(asked.to or recipe.name_b)
    source, target = source_of(direction), target_of(direction)
    folders = {"a": data.test_a, "b": data.test_b}

    def squares(domain):
        reader = DomainReader.of(recipe, domain, DEFAULT_MAX_PIXELS)
        return load_whole(
            folders[domain], range(asked.images), reader, asked.side or recipe.image_size
        )

    sources = squares(source)
    columns = [(recipe.domains[source].name, sources)]
    columns += [
        (name, np.concatenate([m.translator.translate(x[None], direction) for x in sources]))
        for name, m in models.items()
    ]
    if data.paired:
        columns.append((f"true {recipe.domains[target].name}", squares(target)))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    draw_grid(columns, cell=96).save(asked.out)


if __name__ == "__main__":
    main()
