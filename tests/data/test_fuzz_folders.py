"""Folders of any shape and any names: found and checked, or rejected in a line."""

import os
from pathlib import Path

import pytest
from PIL import Image

from fuzzing import case, require_one_line, seeds
from unpaired.data.check.check import check
from unpaired.data.layout.domains import find_data
from unpaired.data.layout.folder import is_system
from unpaired.errors import DataError, shown

FOLDERS = [
    "trainA", "trainB", "train_a", "B_train", "train", "test", "val", "A", "B", "a", "b", "images",
    "Images", "summer", "winter", "masks", "samples", "report", "checkpoints", "@eaDir", ".git",
    "lost+found", "two\nlines", "caf\udce9", "\x1b[31m", "x.jpg", "{}", "%s", "--out", " ",
]  # fmt: skip
FILES = [
    "1.jpg", "2.PNG", "3.tif", "._1.jpg", "Thumbs.db", "notes.txt", "config.toml", "metrics.jsonl",
    "report.json", "index.html", "pictures.png", "model.safetensors", "README.txt", "\udcff.jpg",
    "line\n.png", ".jpg", "é.webp",
]  # fmt: skip


def grow(draw, folder, places, depth=0):
    """Fills a folder with files, folders, links anywhere, and pipes."""
    places.append(folder)
    for name in draw.sample(FILES, draw.randrange(4)):
        kind = draw.choice(["image", "image", "empty", "pipe", "link", "nowhere"])
        path = folder / name
        if kind == "image":
            Image.new("L", (draw.randrange(1, 5), 3), draw.randrange(256)).save(path, "PNG")
        elif kind == "empty":
            path.touch()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(folder / "nowhere" if kind == "nowhere" else "/dev/zero")
    for name in draw.sample(FOLDERS, draw.choice([0, 1, 2, 2, 3, 4]) if depth < 4 else 0):
        if not os.path.lexists(folder / name):
            if draw.random() < 0.1:
                (folder / name).symlink_to(draw.choice(places), target_is_directory=True)
            else:
                (folder / name).mkdir()
                grow(draw, folder / name, places, depth + 1)


@pytest.mark.skipif(os.name != "posix", reason="needs pipes and names that are no text")
@pytest.mark.parametrize("count", seeds(50, 2000))
def test_any_folder_is_found_or_rejected(tmp_path, count):
    found = 0
    for seed in range(count):
        with case(seed, seconds=5) as draw:
            root = tmp_path / str(seed)
            root.mkdir()
            places = []
            grow(draw, root, places)
            options = draw.choice(
                [{}, {}, {"domains": tuple(draw.sample(FOLDERS, 2))}, {"aligned": "left-right"}]
            )
            source = draw.choice([root, tuple(draw.choice(places) for _ in "ab")])
            try:
                options = options if source is root else {}
                data = find_data(source, need_train=draw.random() < 0.5, **options)
            except DataError as error:
                require_one_line(error)
                continue
            found += 1
            for folder in data.folders.values():
                for name in folder.names:
                    assert os.path.lexists(folder.root / name)
                    assert not any(map(is_system, Path(name).parts))
            assert data.name_a.casefold() != data.name_b.casefold()
            assert shown(data.name_a + data.name_b) == data.name_a + data.name_b
            assert all(line.isprintable() for line in data.remarks)
            result = check(data, threads=1)
            assert result.fingerprint == check(data, threads=3).fingerprint
            assert result.report(full=True).replace("\n", "").isprintable()
    assert found > count / 10
