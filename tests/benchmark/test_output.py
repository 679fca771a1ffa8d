"""What is shown of a benchmark: tables, the page, and the command with real processes."""

import json
import re
from html.parser import HTMLParser

import pytest

from unpaired.benchmark.page import render
from unpaired.benchmark.result import Benchmark, Row, Spread
from unpaired.benchmark.rows import PLAIN, Contestant, Work
from unpaired.benchmark.text import headlines, print_tables
from unpaired.benchmark.worker import Worker
from unpaired.cli.main import main
from unpaired.config import Runtime
from unpaired.errors import RunError

TRAIN, TRANSLATE = Work("train", "paper", 128, 1), Work("translate", "small", 64, 8)


@pytest.fixture
def result():
    """Two works; in one of them a contestant failed, and its reason is no HTML."""
    ceiling = (2.0e11,) * 3
    plain = Row(TRAIN, PLAIN, (3.0, 3.0, 4.0), (3.0, 3.0, 4.0), ceiling, 5.0, 1_200_000_000)
    bf16 = Row(
        TRAIN, Contestant("torch", "bf16"), (1.0, 1.5, 2.0), plain.seconds, (4.0e11,) * 3, 12.0,
        900_000_000,
    )  # fmt: skip
    quick = Row(TRANSLATE, PLAIN, (0.01, 0.01), (0.01, 0.01), (2.0e11,) * 2, 1.0, 10_000_000)
    winograd = Row(
        TRANSLATE, Contestant("torch"), (0.005, 0.004), quick.seconds, (2.0e11,) * 2, 1.0,
        10_000_000, "fp32 winograd",
    )  # fmt: skip
    failed = Row(TRANSLATE, Contestant("jax"), problem="out of <memory> & time")
    facts = {"date": "2026-11-26", "processor": "A <CPU> (avx2)", "device": "cpu", "threads": "2"}
    rows = [plain, bf16, quick, winograd, failed]
    return Benchmark(rows, facts, {"fp32": Spread(2e11, 1e11, 3e11)}, ["bf16: slow"])


def test_tables_fit_a_terminal_of_80_characters(result, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_tables(result)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "Training step, paper, 128 px, batch 1" in out
    row = next(line for line in out.splitlines() if line.startswith("torch bf16"))
    cells = re.split(r" {2,}| (?=\d+ %)", row)
    assert "1.50 s" in row
    assert "2.00 (2.00 to 2.80)" in row, cells
    assert "0.90 GB" in row
    assert "12.0 s" in row
    assert "torch fp32 winograd" in out
    assert "failed: translation, small, 64 px, batch 8, jax fp32: out of <memory> & time" in out
    assert "not measured: bf16: slow" in out


def test_headlines_name_the_fastest(result):
    first, second = headlines(result)
    assert first.startswith("Training step, paper, 128 px, batch 1: torch bf16 is 2.00 times")
    assert "torch fp32 winograd is 2.25 times" in second


class Page(HTMLParser):
    """The texts of cells; tags that do not close are an error."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.rows, self.text = [], [], ""
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data
        if {"td", "th"} & set(self.stack):
            self.rows[-1][-1] += data


def test_the_page_has_the_rows_and_escapes_what_it_shows(result):
    text = render(result)
    page = Page(text)
    rows = {row[0]: [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row[1:]]
            for row in page.rows}  # fmt: skip
    assert rows["torch bf16"][0] == "1.50 s"
    assert rows["torch bf16"][2] == "2.002.00 to 2.80"
    share = TRAIN.flops / 1.5 / 4e11
    assert rows["torch bf16"][3] == f"{100 * share:.0f} %"
    assert rows["jax fp32"] == ["–"] * 6
    assert "out of &lt;memory&gt; &amp; time" in text
    assert "Speed on A <CPU>" in page.text
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_bar_is_never_longer_than_its_cell(result):
    shares = [int(share) for share in re.findall(r"--share:(\d+)%", render(result))]
    assert max(shares) <= 100
    assert 0 < sum(share > 0 for share in shares) <= 8  # ratios and ceilings of four rows


# ---- the command, and real processes ------------------------------------------------------


@pytest.fixture
def free_machine(monkeypatch):
    """Nothing is said of other work."""
    monkeypatch.setattr("unpaired.benchmark.machine.load", lambda: 0.0)


def test_the_command_measures_and_writes_its_files(free_machine, tmp_path, capsys):
    """Three processes: the ceiling, the reference and an engine."""
    words = "bench --only translate --preset tiny --size 32 --engine torch --precision fp32"
    files = ["--json", tmp_path / "speed.json", "--page", tmp_path / "new" / "speed.html"]
    limits = ["--minutes", "0", "--threads", "1", "--device", "cpu", "--quiet"]
    assert main([*words.split(), *map(str, files), *limits]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "Translation, tiny, 32 px, batch 1" in out
    told = json.loads((tmp_path / "speed.json").read_text())
    plain, torch = told["rows"]
    assert (plain["engine"], torch["engine"]) == ("plain", "torch")
    assert len(torch["rounds"]["seconds"]) == 3
    assert min(torch["rounds"]["seconds"]) > 0
    assert 0 < torch["share_of_ceiling"]["median"] < 1.5
    assert 0 < torch["peak_bytes"] < 1e9
    assert torch["method"].startswith("fp32")
    assert told["machine"]["threads"].startswith("1 of ")
    assert "Speed on" in (tmp_path / "new" / "speed.html").read_text()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new", "speed.html", "speed.json"]


@pytest.mark.parametrize(("words", "told"), [
    ("--json .", "is a folder: give the name of a file"),
    ("--size 30", "--size is 30: it must be a multiple of 4"),
    ("--size 8 --preset paper", "discriminator"),
    ("--minutes -1", "--minutes is -1.0: it must be at least 0"),
    ("--threads 100000 --size 64", "--threads"),
    ("--device cuda:99 --size 64 --precision fp32", "--device cuda:99 is not available"),
])  # fmt: skip
def test_the_command_rejects(free_machine, words, told, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("unpaired: ")
    assert err.count("\n") == 1
    assert told in err


def test_a_killed_process_says_what_happened():
    with Worker(TRAIN, PLAIN, Runtime(threads=1)) as worker:
        worker.process.kill()
        with pytest.raises(RunError, match="killed, as systems do when memory runs out"):
            worker.imported()
        with pytest.raises(RunError, match="killed"):
            worker.turn(1)


def test_a_process_ends_with_its_worker():
    with Worker(TRAIN, PLAIN, Runtime(threads=1)) as worker:
        assert worker.process.poll() is None
    assert worker.process.returncode is not None
