"""Named data sets: made, fetched from a server on the loopback, found, and told apart."""

import hashlib
import io
import random
import stat
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from platformdirs import windows
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from unpaired.data import catalogue
from unpaired.data import home as home_module
from unpaired.data.catalogue import Counts, Entry, entries, entry
from unpaired.data.fetch import download
from unpaired.data.fetch.download import Limits
from unpaired.data.fetch.fetch import fetch
from unpaired.data.home import data_home, listing, obtain
from unpaired.data.source import resolve
from unpaired.errors import DataError, RunError
from unpaired.seasons.dataset import NAMED, SeasonsSpec

QUICK = Limits(timeout=5, failures=3, pause=0)
COUNTS = Counts(4, 3, 2, 1)
SHARED = Path(__file__).parents[2].parent / "shared"


def random_images(counts: Counts = COUNTS, top: str = "sea2sky/") -> dict[Any, bytes]:
    draw = random.Random(5)
    numbers = zip(("trainA", "trainB", "testA", "testB"), vars(counts).values(), strict=True)
    return {
        f"{top}{split}/{index}.jpg": draw.randbytes(20_000)
        for split, count in numbers
        for index in range(count)
    }


def zipped(content: dict[Any, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def known(server, monkeypatch) -> Entry:
    """A small data set of the catalogue, which the server has."""
    server.content = zipped(random_images())
    small = Entry(
        name="sea2sky",
        description="blue and blue",
        name_a="sea",
        name_b="sky",
        pixels=8,
        counts=COUNTS,
        url=server.url,
        bytes=len(server.content),
        sha256=hashlib.sha256(server.content).hexdigest(),
    )
    known = (small, *catalogue.paper())
    monkeypatch.setattr(catalogue, "paper", lambda: known)
    return small


@pytest.fixture
def small_seasons(monkeypatch) -> Counts:
    counts = Counts(3, 3, 2, 2)
    specs = {"seasons-lite": SeasonsSpec(size=32, train=3, test=2, level="lite")}
    monkeypatch.setattr(home_module, "NAMED", specs)
    lite = replace(entry("seasons-lite"), counts=counts)
    monkeypatch.setattr(catalogue, "SEASONS", (lite,))
    return counts


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.jpg")
        if path.is_file()
    }


def left_in(home: Path) -> set[str]:
    """What stands in the data home besides locks."""
    return {path.name for path in home.iterdir() if path.suffix != ".lock"}


def refused(home: Path, name: str = "sea2sky", **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        fetch(name, home=home, limits=options.pop("limits", QUICK), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------------------- the entries


def test_entries_are_told_apart_and_well_formed():
    names = [known.name for known in entries()]
    assert len(set(names)) == len(names)
    assert {"seasons-lite", "seasons", "summer2winter_yosemite", "horse2zebra"} <= set(names)
    assert len({known.sha256 for known in entries() if known.sha256}) == 11
    for known in entries():
        assert known.name_a != known.name_b
        assert (known.name in NAMED) == (known.url is None)
        if known.url is not None:
            addresses = (known.url, *known.mirrors)
            assert all(address.startswith("https://") for address in addresses)
            assert all(address.endswith(f"/{known.name}.zip") for address in addresses)
        if known.sha256 is not None:
            assert len(bytes.fromhex(known.sha256)) == 32


def test_counts_are_those_of_the_recipe():
    assert entry("summer2winter_yosemite").counts == Counts(1231, 962, 309, 238)
    assert entry("horse2zebra").counts == Counts(1067, 1334, 120, 140)
    assert entry("maps").counts == Counts(1096, 1096, 1098, 1098)
    assert entry("seasons-lite").counts == Counts(600, 600, 100, 100)
    assert (entry("facades").name_a, entry("facades").name_b) == ("photo", "label")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("horse2zebr", "horse2zebra"), ("Seasons-Lite", "seasons-lite"), ("yosemite", "yosemite")],
)
def test_an_unknown_name_is_answered_with_the_nearest(asked, meant):
    with pytest.raises(DataError, match=f"did you mean [a-z0-9_]*{meant}"):
        entry(asked)
    with pytest.raises(DataError, match="there is no data set 'xyz': "):
        entry("xyz")


# ----------------------------------------------------------------------------- the data home


def test_the_data_home_is_where_it_is_told_to_be(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("UNPAIRED_DATA", "~/sets")
    assert data_home() == tmp_path / "sets"
    monkeypatch.setenv("UNPAIRED_DATA", "")
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    assert data_home() == tmp_path / "xdg" / "unpaired"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert data_home() == tmp_path / ".cache" / "unpaired"
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    assert data_home() == tmp_path / "Library" / "Caches" / "unpaired"
    monkeypatch.setattr(platformdirs, "PlatformDirs", windows.Windows)
    local = {"CSIDL_LOCAL_APPDATA": str(tmp_path / "local")}
    monkeypatch.setattr(windows, "get_win_folder", local.get)
    assert data_home() == tmp_path / "local" / "unpaired"
    assert not (tmp_path / "local").exists()


@pytest.mark.parametrize("tells", ["~/.cache/unpaired", None])
def test_without_a_home_folder_the_variable_is_named(monkeypatch, tells):
    def nowhere(*_: object, **__: object) -> Path:
        if tells is None:
            raise RuntimeError("no home")
        return Path(tells)

    def homeless(_: Path) -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("UNPAIRED_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", nowhere)
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(DataError, match="no home folder: set UNPAIRED_DATA"):
        data_home()


# ------------------------------------------------------------------------------------- fetch


@pytest.mark.parametrize("top", ["sea2sky/", "", "sea2sky-main/"])
def test_fetch_brings_what_the_server_has(known, server, home, top):
    server.content = zipped(random_images(top=top) | {f"__MACOSX/{top}._1.jpg": b"x"})
    fetched = fetch("sea2sky", home=home, url=server.url, limits=QUICK)
    assert fetched.folder == home / "sea2sky"
    assert fetched.counts == COUNTS
    assert fetched.sha256 == hashlib.sha256(server.content).hexdigest()
    assert fetched.bytes == len(server.content)
    assert files(fetched.folder) == random_images(top="")
    assert left_in(home) == {"sea2sky"}


def test_what_is_here_is_not_fetched_again(known, server, home):
    first = fetch("sea2sky", home=home, limits=QUICK)
    asked = len(server.requests)
    assert fetch("sea2sky", home=home, limits=QUICK) == first
    assert obtain("sea2sky", home=home) == home / "sea2sky"
    assert len(server.requests) == asked == 1


def test_a_folder_unpacked_by_hand_will_do(known, home):
    for name, content in random_images(top="").items():
        (home / "sea2sky" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "sea2sky" / name).write_bytes(content)
    fetched = fetch("sea2sky", home=home, limits=QUICK)
    assert (fetched.counts, fetched.sha256, fetched.bytes) == (COUNTS, None, None)


def test_a_damaged_folder_is_neither_used_nor_touched(known, home):
    fetch("sea2sky", home=home, limits=QUICK)
    (home / "sea2sky" / "trainB" / "0.jpg").unlink()
    text = refused(home)
    assert "4 + 2, test 2 + 1 images, not 4 + 3, test 2 + 1" in text
    assert str(home / "sea2sky") in text
    assert "unpaired data fetch sea2sky" in text
    with pytest.raises(DataError, match="damaged"):
        obtain("sea2sky", home=home)
    assert len(files(home / "sea2sky")) == 9


def test_a_broken_fetch_is_resumed_the_next_time(known, server, home, on_progress):
    server.breaks_after = [100_000, 0, 0, 0]
    assert "start again" in refused(home)
    assert left_in(home) == {"sea2sky.zip.part", "sea2sky.zip.part.json"}
    progress: list[tuple[int, int | None]] = []
    on_progress(lambda *call: progress.append(call))
    fetch("sea2sky", home=home, limits=QUICK)
    assert server.requests[-1]["Range"] == "bytes=100000-"
    assert server.sent == len(server.content)
    assert files(home / "sea2sky") == random_images(top="")
    assert left_in(home) == {"sea2sky"}
    assert progress[0] == (100_000, len(server.content))
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)


def test_ctrl_c_keeps_what_came(known, server, home, on_progress):
    def press(done: int, total: int | None) -> None:
        assert not (home / "sea2sky").exists()
        if done > 100_000:
            raise KeyboardInterrupt

    on_progress(press)
    with pytest.raises(KeyboardInterrupt):
        fetch("sea2sky", home=home, limits=QUICK)
    assert left_in(home) == {"sea2sky.zip.part", "sea2sky.zip.part.json"}
    on_progress(lambda *_: None)
    fetch("sea2sky", home=home, limits=QUICK)
    assert server.requests[-1]["Range"].startswith("bytes=1")
    assert left_in(home) == {"sea2sky"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"../evil.jpg": b"x"}, "leads out"),
        ({"/evil.jpg": b"x"}, "leads out"),
        ({"sea2sky\\..\\..\\evil.jpg": b"x"}, "leads out"),
        ({link("sea2sky/trainA/link.jpg"): b"/etc/passwd"}, "link"),
        ({"sea2sky/trainA/0.JPG": b"x"}, "same name"),
    ],
)
def test_an_archive_made_to_do_harm_leaves_nothing(known, server, home, content, reason):
    server.content = zipped(random_images() | content)
    text = refused(home, url=server.url)
    assert reason in text
    assert server.url in text
    assert left_in(home) == set()
    assert {path.name for path in home.parent.iterdir()} == {"home"}


def test_a_bomb_leaves_nothing(known, server, home):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sea2sky/trainA/1.jpg", bytes(2_000_000))
    server.content = buffer.getvalue()
    assert "more than" in refused(home, url=server.url)
    assert left_in(home) == set()


def test_what_is_no_zip_file_leaves_nothing(known, server, home):
    whole = server.content
    server.content = whole[: len(whole) // 2]
    assert "not a complete zip file" in refused(home, url=server.url)
    server.content, server.announces = whole, len(whole) // 2
    assert "not a complete zip file" in refused(home, url=server.url)
    server.content, server.announces = b"<!doctype html>", None
    assert "not a complete zip file" in refused(home, url=server.url)
    assert left_in(home) == set()


def test_wrong_counts_leave_nothing(known, server, home):
    server.content = zipped(random_images(Counts(4, 3, 2, 2)))
    text = refused(home, url=server.url)
    assert "4 + 3, test 2 + 2 images, not 4 + 3, test 2 + 1" in text
    assert left_in(home) == set()


def test_where_no_counts_are_known_any_image_will_do(server, home):
    server.content = zipped({"ae_photos/readme.txt": b"none"})
    assert "no images" in refused(home, "ae_photos", url=server.url)
    server.content = zipped({"ae_photos/testA/1.png": b"one"})
    fetched = fetch("ae_photos", home=home, url=server.url, limits=QUICK)
    assert fetched.counts == Counts(0, 0, 1, 0)


def test_another_file_than_the_known_one_is_refused(known, server, home):
    same_length = bytearray(server.content)
    same_length[60] ^= 1
    server.content = bytes(same_length)
    text = refused(home)
    assert f"unpaired data fetch sea2sky --url {server.url}" in text
    assert hashlib.sha256(server.content).hexdigest() in text
    assert left_in(home) == set()
    server.content = zipped(random_images() | {"sea2sky/readme.txt": b"new"})
    assert "another one" in refused(home)
    assert fetch("sea2sky", home=home, url=server.url, limits=QUICK).counts == COUNTS


def test_a_mirror_is_asked_where_the_first_address_fails(known, server, home, monkeypatch):
    moved = replace(known, url=f"{server.url}?old", mirrors=(f"{server.url}?new",))
    monkeypatch.setattr(catalogue, "paper", lambda: (moved,))
    server.status = [404, 404]
    text = refused(home)
    assert "?old" in text
    assert "?new" in text
    assert left_in(home) == set()
    server.status = [404]
    assert fetch("sea2sky", home=home, limits=QUICK).counts == COUNTS


def test_a_missing_file_is_one_line(known, server, home):
    server.status = [404]
    text = refused(home)
    assert "404" in text
    assert server.url in text
    assert left_in(home) == set()


def test_a_full_disk_in_unpacking_keeps_the_download(known, server, home, monkeypatch):
    room = iter([10**9, 10])
    disk = type("Disk", (), {"free": property(lambda _: next(room))})
    with monkeypatch.context() as patch:
        patch.setattr(download.shutil, "disk_usage", lambda _: disk())
        with pytest.raises(RunError, match="full"):
            fetch("sea2sky", home=home, limits=QUICK)
    assert left_in(home) == {"sea2sky.zip.part", "sea2sky.zip.part.json"}
    fetch("sea2sky", home=home, limits=QUICK)
    assert len(server.requests) == 1
    assert left_in(home) == {"sea2sky"}


def test_what_a_killed_process_left_is_not_taken_over(known, home):
    (home / ".sea2sky.unpacking" / "trainA").mkdir(parents=True)
    (home / ".sea2sky.unpacking" / "trainA" / "old.jpg").write_bytes(b"old")
    fetch("sea2sky", home=home, limits=QUICK)
    assert files(home / "sea2sky") == random_images(top="")
    assert left_in(home) == {"sea2sky"}


def test_two_at_once_do_not_fetch_the_same(known, server, home, on_progress):
    server.hold, begun = threading.Event(), threading.Event()
    on_progress(lambda *_: begun.set())
    first = threading.Thread(target=fetch, args=("sea2sky",), kwargs={"home": home})
    first.start()
    try:
        assert begun.wait(10)
        with pytest.raises(RunError, match="sea2sky is in use by another process: wait"):
            fetch("sea2sky", home=home)
        assert len(server.requests) == 1
    finally:
        server.hold.set()
        first.join(10)
    assert fetch("sea2sky", home=home, limits=QUICK).counts == COUNTS
    assert len(server.requests) == 1


def test_seasons_is_not_fetched(home):
    assert "unpaired data make seasons" in refused(home, "seasons")
    assert not home.exists()


# -------------------------------------------------------------------------- obtain, resolve


def test_seasons_is_made_once(small_seasons, home, on_progress):
    progress: list[tuple[int, int | None]] = []
    on_progress(lambda *call: progress.append(call))
    folder = obtain("seasons-lite", home=home)
    assert folder == home / "seasons-lite"
    assert len(list(folder.glob("train?/*.png"))) == 6
    assert progress[-1] == (8, 8)
    made = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    on_progress(lambda *_: pytest.fail("made"))
    assert obtain("seasons-lite", home=home) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == made


def test_a_second_process_waits_for_the_seasons_of_the_first(small_seasons, home, on_progress):
    begun, go_on, late = threading.Event(), threading.Event(), []

    def slow(done: int, total: int | None) -> None:
        if threading.current_thread() is second:
            late.append((done, total))
        begun.set()
        go_on.wait(10)

    on_progress(slow)
    first, second = (
        threading.Thread(target=obtain, args=("seasons-lite",), kwargs={"home": home})
        for _ in range(2)
    )
    first.start()
    assert begun.wait(10)
    second.start()
    second.join(0.2)
    assert second.is_alive()
    go_on.set()
    first.join(10)
    second.join(10)
    assert late == []
    assert (home / "seasons-lite" / "trainA").is_dir()


def test_what_is_not_here_is_said_with_the_command_that_gets_it(home):
    with pytest.raises(DataError, match="`unpaired data fetch horse2zebra`"):
        obtain("horse2zebra", home=home)
    with pytest.raises(DataError, match="`unpaired data fetch horse2zebra`"):
        resolve("horse2zebra", home=home)
    assert not home.exists()


def test_resolve_takes_folders_and_names(small_seasons, home, tmp_path, monkeypatch):
    assert resolve(tmp_path) == tmp_path
    assert resolve(str(tmp_path), home=home) == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve("~", home=home) == tmp_path
    assert resolve("seasons-lite", home=home) == home / "seasons-lite"


def test_a_folder_wins_over_a_name(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    assert resolve("maps", home=home) == Path("maps")
    assert resolve("./maps", home=home).resolve() == tmp_path / "maps"
    assert resolve(tmp_path / "maps", home=home) == tmp_path / "maps"


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ("horse2zebras", "did you mean horse2zebra: "),
        ("/no/such/place", "neither a folder nor a data set: "),
        ("", "'' is neither"),
        ("x" * 5000, "neither"),
        ("a\0b", "neither"),
    ],
)
def test_what_is_neither_is_refused(data, answer, home):
    with pytest.raises(DataError) as caught:
        resolve(data, home=home)
    assert answer in str(caught.value)


def test_a_file_is_no_data_set(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"set\.zip is a file"):
        resolve(tmp_path / "set.zip")


# ----------------------------------------------------------------------------------- listing


def test_the_listing_shows_every_state_in_columns(known, small_seasons, server, home):
    def states() -> dict[str, str]:
        lines = listing(home).splitlines()
        at = lines[0].index("state")
        rows = [line for line in lines[1:] if line and not line.startswith("Data home")]
        assert all(line[at - 1] == " " and line[at] != " " for line in rows)
        return {line.split()[0]: line[at:].split("  ")[0] for line in rows}

    assert states().keys() == {known.name for known in entries()}
    assert states()["seasons-lite"] == "made when needed"
    assert states()["sea2sky"] == states()["maps"] == "not fetched"
    obtain("seasons-lite", home=home)
    server.breaks_after = [100_000, 0, 0, 0]
    refused(home)
    assert states()["seasons-lite"] == "made"
    assert states()["sea2sky"] == "0.1 MB fetched"
    fetch("sea2sky", home=home, limits=QUICK)
    assert states()["sea2sky"] == "fetched"
    (home / "sea2sky" / "testA" / "0.jpg").unlink()
    assert states()["sea2sky"] == "damaged"
    assert "4 + 3, test 2 + 1" in listing(home)
    assert "sea | sky: blue and blue" in listing(home)
    assert str(home) in listing(home)
    assert all(line == line.rstrip() for line in listing(home).splitlines())


def test_the_real_yosemite_is_recognised():
    data = SHARED / "data"
    if not (data / "summer2winter_yosemite").is_dir():
        pytest.skip("shared/data/summer2winter_yosemite is not there")
    assert obtain("summer2winter_yosemite", home=data) == data / "summer2winter_yosemite"
    with pytest.raises(DataError, match=r"0 \+ 0, test 106 \+ 106"):
        obtain("facades", home=data)
