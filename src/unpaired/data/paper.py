"""The data sets of the CycleGAN paper: what they hold, where they are, how to know them.

Sizes, SHA-256 and counts are those TensorFlow Datasets recorded of the files at the first address
(`cycle_gan` 2.0.0). The authors have moved since, hence the second address.
"""

from dataclasses import dataclass

__all__ = ["PAPER", "Counts", "Entry"]


@dataclass(frozen=True)
class Counts:
    """Images in the four folders of a data set."""

    train_a: int
    train_b: int
    test_a: int
    test_b: int

    def __str__(self) -> str:
        return f"{self.train_a} + {self.train_b}, test {self.test_a} + {self.test_b}"


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue. Those without an address are made on this machine."""

    name: str
    description: str
    name_a: str
    name_b: str
    pixels: int | None
    """Side of an image, where all are square and of one size."""
    counts: Counts | None
    url: str | None = None
    mirrors: tuple[str, ...] = ()
    """Further addresses of the same file, tried in turn where `url` fails."""
    bytes: int | None = None
    """Size of the zip file."""
    sha256: str | None = None
    """Of the zip file at `url` and its mirrors."""


def _entry(
    name: str,
    names: tuple[str, str],
    description: str,
    pixels: int | None,
    counts: Counts | None,
    bytes: int | None,
    sha256: str | None,
) -> Entry:
    return Entry(
        name=name,
        description=description,
        name_a=names[0],
        name_b=names[1],
        pixels=pixels,
        counts=counts,
        url=f"https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/{name}.zip",
        mirrors=(f"https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{name}.zip",),
        bytes=bytes,
        sha256=sha256,
    )


PAPER = (
    _entry(
        "summer2winter_yosemite",
        ("summer", "winter"),
        "photographs of Yosemite",
        256,
        Counts(1231, 962, 309, 238),
        132640856,
        "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9",
    ),
    _entry(
        "horse2zebra",
        ("horse", "zebra"),
        "photographs from ImageNet",
        256,
        Counts(1067, 1334, 120, 140),
        116867962,
        "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1",
    ),
    _entry(
        "apple2orange",
        ("apple", "orange"),
        "photographs from ImageNet",
        256,
        Counts(995, 1019, 266, 248),
        78456409,
        "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8",
    ),
    _entry(
        "maps",
        ("aerial", "map"),
        "New York from above and as a map, paired",
        600,
        Counts(1096, 1096, 1098, 1098),
        1476754427,
        "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e",
    ),
    _entry(
        "facades",
        ("photo", "label"),
        "house fronts and their parts, paired",
        256,
        Counts(400, 400, 106, 106),
        35135868,
        "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0",
    ),
    _entry(
        "cityscapes",
        ("photo", "label"),
        "streets and their parts, paired; withdrawn, see cityscapes-dataset.com",
        256,
        Counts(2975, 2975, 500, 500),
        279601602,
        "d2f6910fd056c1ee9873777ae838e7ac4a2c833598ae62a04188e5ab2f4ea036",
    ),
    _entry(
        "monet2photo",
        ("monet", "photo"),
        "paintings and landscape photographs",
        256,
        Counts(1072, 6287, 121, 751),
        305231073,
        "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04",
    ),
    _entry(
        "cezanne2photo",
        ("cezanne", "photo"),
        "paintings and landscape photographs",
        256,
        Counts(525, 6287, 58, 751),
        279885071,
        "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff",
    ),
    _entry(
        "ukiyoe2photo",
        ("ukiyoe", "photo"),
        "prints and landscape photographs",
        256,
        Counts(562, 6287, 263, 751),
        292946532,
        "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08",
    ),
    _entry(
        "vangogh2photo",
        ("vangogh", "photo"),
        "paintings and landscape photographs",
        256,
        Counts(400, 6287, 400, 751),
        306590349,
        "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff",
    ),
    _entry(
        "iphone2dslr_flower",
        ("iphone", "dslr"),
        "photographs of flowers by telephone and by camera",
        None,
        Counts(1812, 3325, 569, 480),
        339964458,
        "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113",
    ),
    _entry(
        "ae_photos",
        ("photo", "painting"),
        "photographs to try a painter's model on; none to train on",
        None,
        None,
        None,
        None,
    ),
)
