"""Studies with people: the page, played through in headless Chromium, and the score of answers."""

import itertools
import json
import re

import numpy as np
import pytest

from browser import Browser, needs_chromium
from conftest import write_images
from small_models import finished_run
from unpaired.cli.main import main
from unpaired.errors import ConfigError, DataError
from unpaired.study.answers import read_answers
from unpaired.study.build import make_study
from unpaired.study.score import as_lines, bootstrap, score


@pytest.fixture
def run(tmp_path):
    return finished_run(tmp_path / "run")


@pytest.fixture
def images(tmp_path):
    """A data set of 14 test images of each domain, of equal names."""
    root = tmp_path / "images"
    for seed, domain in enumerate("AB", start=1):
        write_images(root / f"train{domain}", 3, seed)
        write_images(root / f"test{domain}", 14, seed + 2)
    return root


def told_by(page):
    text = re.search(r'id="told">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)[1]
    return json.loads(text)


def answers(
    path, session, fooled, count=40, *, direction="ab", study="s", practice=2, changes=None
):
    """A file of answers as the page saves it, in which the first `fooled` were wrong."""
    trials = [
        {
            "direction": direction,
            "practice": k < 0,
            "real_first": k % 2 == 0,
            "answer": ("first", "second")[(k % 2) ^ (0 <= k < fooled)],
        }
        for k in range(-practice, count)
    ]
    content = {
        "format": 1, "kind": "answers of an unpaired study", "study": study, "session": session,
        "directions": {"ab": {"from": "summer", "to": "winter"},
                       "ba": {"from": "winter", "to": "summer"}},
        "trials": trials,
    }  # fmt: skip
    path.write_text(json.dumps(content | (changes or {})), encoding="utf-8")
    return path


# ---- the page -----------------------------------------------------------------------------


def test_the_command(run, images, tmp_path, capsys):
    words = ["study", str(run), str(images), "--out", str(tmp_path / "out"), "--trials", "30",
             "--practice", "3", "--seed", "7"]  # fmt: skip
    assert main(words) == 0
    shown = capsys.readouterr()
    page = tmp_path / "out" / "index.html"
    assert shown.out == f"{page}: {page.stat().st_size / 1e6:.1f} MB\n"
    assert "14 test images, so 11 trials of 30 after 3 of practice" in shown.err
    told = told_by(page)
    assert [block["to"] for block in told["blocks"]] == ["winter", "summer"]
    for block in told["blocks"]:
        assert len(block["real"]) == len(block["generated"]) == 14
        names = [[image["name"] for image in block[kind]] for kind in ("real", "generated")]
        assert all(len(set(each)) == 14 for each in names)  # nothing is shown twice
        assert all(real != generated for real, generated in zip(*names, strict=True))
    assert main(words) == 2
    assert "index.html exists: choose another --out" in capsys.readouterr().err
    before = page.read_text("utf-8")
    assert main([*words, "--overwrite"]) == 0
    assert page.read_text("utf-8") == before
    assert main([*words[:-1], "8", "--overwrite"]) == 0
    assert page.read_text("utf-8") != before
    html = re.sub(r"base64,[^\"]*", "", before)
    assert not re.search(r"https?:|[\"'(]//|<link (?!rel=\"icon\")|@import|url\(|eval\(", html)


def test_one_direction_alone(run, images, tmp_path):
    page = make_study(run, images, tmp_path / "out", to="summer", trials=10, practice=0)
    assert page.trials == {"ba": 10}
    assert [block["direction"] for block in told_by(page.path)["blocks"]] == ["ba"]


def test_impossible_studies_are_rejected(run, images, tmp_path):
    with pytest.raises(DataError, match="14 test images for 10 trials of practice and 10 others"):
        make_study(run, images, tmp_path / "out")
    with pytest.raises(ConfigError, match="--trials 5 --practice 2: 10 to 1000 trials"):
        make_study(run, images, tmp_path / "out", trials=5, practice=2)
    with pytest.raises(ConfigError, match="seed"):
        make_study(run, images, tmp_path / "out", practice=0, seed=-1)
    with pytest.raises(ConfigError, match="no domain"):
        make_study(run, images, tmp_path / "out", practice=0, to="spring")
    assert not (tmp_path / "out").exists()


def test_names_of_files_cannot_leave_their_element(run, images, tmp_path):
    evil = "<script>alert(1)<!--.png"
    for domain in "AB":
        (images / f"test{domain}" / "00.png").rename(images / f"test{domain}" / evil)
    page = make_study(run, images, tmp_path / "out", trials=14, practice=0).path
    assert page.read_text("utf-8").count("<script") == 2
    names = [image["name"] for image in told_by(page)["blocks"][0]["real"]]
    assert any("alert" in name for name in names)


# ---- the score ----------------------------------------------------------------------------


def test_the_share_fooled_beside_the_paper(tmp_path, capsys):
    files = [answers(tmp_path / f"{k}.json", f"p{k}", 8 + k % 5) for k in range(12)]
    files.append(answers(tmp_path / "back.json", "p0b", 10, 20, direction="ba"))
    first, second = score(files)
    fooled = sum(8 + k % 5 for k in range(12))
    assert (first.direction, first.participants, first.answers) == ("ab", 12, 480)
    assert first.share == pytest.approx(fooled / 480)
    assert first.low < first.share < first.high
    assert first.warnings == ()
    assert (second.share, second.low, second.deviation) == (0.5, None, None)
    assert "1 participant and 20 answers are few: from 10 and 400 on" in second.warnings[0]
    assert main(["study", "score", *map(str, files)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == as_lines([first, second])
    assert shown[0].startswith(f"summer to winter: fooled {100 * first.share:.1f} % ± ")
    assert "map to photo 26.8 % ± 2.8, photo to map 23.2 % ± 3.4" in shown[-2]


def test_practice_does_not_count_and_the_page_is_not_believed(tmp_path):
    path = answers(tmp_path / "a.json", "a", 3, 12, practice=5)
    content = json.loads(path.read_text())
    for trial in content["trials"]:
        trial["fooled"] = True  # what is counted follows from the answer
    path.write_text(json.dumps(content))
    (found,) = read_answers([path])
    assert (found.counts["ab"].fooled, found.counts["ab"].answers) == (3, 12)


def test_one_who_always_says_the_same_is_told(tmp_path):
    path = answers(tmp_path / "a.json", "a", 0, 20)
    content = json.loads(path.read_text())
    for trial in content["trials"]:
        trial["answer"] = "first"
    path.write_text(json.dumps(content))
    (found,) = score([path])
    assert "a always answered the same: was it read?" in found.warnings
    assert found.share == 0.5


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"kind": "answers of an unpaired study"}'],
)
def test_other_files_are_rejected(tmp_path, content):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="give files that the page saved"):
        score([path])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2}, {"kind": "x"}, {"study": 3}, {"session": ""}, {"session": "a\nb"},
        {"trials": []}, {"trials": "x"}, {"trials": [1]}, {"directions": {}},
        {"directions": {"ab": {"from": "x"}}}, {"directions": {"xy": {"from": "x", "to": "y"}}},
        {"trials": [{"direction": "ab", "practice": 0, "real_first": True, "answer": "first"}]},
        {"trials": [{"direction": "ab", "practice": False, "real_first": True, "answer": 1}]},
        {"trials": [{"direction": ["ab"], "practice": False, "real_first": True,
                     "answer": "first"}]},
    ],
)  # fmt: skip
def test_changed_files_are_rejected(tmp_path, changes):
    path = answers(tmp_path / "a.json", "a", 1, 4, changes=changes)
    with pytest.raises(DataError, match="holds no answers of a study"):
        score([path])


def test_files_that_do_not_belong_together(tmp_path, caplog):
    one = answers(tmp_path / "1.json", "a", 1)
    copy = answers(tmp_path / "2.json", "a", 1)
    assert score([one, copy])[0].participants == 1
    assert "2.json has the answers of" in caplog.text
    with pytest.raises(DataError, match="one of them was changed"):
        score([one, answers(tmp_path / "3.json", "a", 2)])
    with pytest.raises(DataError, match="score them one by one"):
        score([one, answers(tmp_path / "4.json", "b", 2, study="t")])
    with pytest.raises(DataError, match=r"missing\.json cannot be read"):
        score([tmp_path / "missing.json"])


def test_the_bootstrap_has_the_deviation_of_its_closed_form():
    """With n answers each: the variance of the mean of P draws of the P shares with replacement."""
    fooled = np.random.default_rng(2).binomial(40, 0.27, 25)
    expected = np.sqrt(np.var(fooled / 40) / 25)
    shares = bootstrap(fooled, [40] * 25)
    assert shares.std() == pytest.approx(expected, rel=0.03)  # 10,000 resamples: 0.7 % of spread
    assert shares.mean() == pytest.approx(np.mean(fooled) / 40, abs=4 * expected / 100)


def test_the_bootstrap_has_the_distribution_of_all_resamples():
    """Of unequal numbers of answers too: all 4^4 resamples are listed."""
    fooled, count = np.array([1, 9, 4, 30]), np.array([10, 20, 40, 40])
    every = [list(chosen) for chosen in itertools.product(range(4), repeat=4)]
    expected = np.sort([fooled[chosen].sum() / count[chosen].sum() for chosen in every])
    shares = bootstrap(fooled, count)
    values = np.unique(expected)
    assert np.isin(np.round(shares, 12), np.round(values, 12)).all()
    for value in values:  # 10,000 resamples: the distance of the distributions is below 0.02
        below = np.mean(expected <= value + 1e-12)
        assert np.mean(shares <= value + 1e-12) == pytest.approx(below, abs=0.02)


def test_the_interval_covers_the_truth_where_participants_differ():
    """Each of 25 people has a share of their own; resampled answers would cover far less often."""
    rng = np.random.default_rng(3)
    by_people = by_answers = 0
    for seed in range(200):
        fooled = rng.binomial(40, rng.beta(2.7, 7.3, 25))
        low, high = np.quantile(
            bootstrap(fooled, [40] * 25, seed=seed, resamples=500), (0.025, 0.975)
        )
        by_people += low <= 0.27 <= high
        spread = 1.96 * np.sqrt(0.27 * 0.73 / 1000)
        by_answers += abs(fooled.sum() / 1000 - 0.27) <= spread
    assert 0.87 <= by_people / 200 <= 0.99
    assert by_answers / 200 < 0.8


# ---- in a browser -------------------------------------------------------------------------


# Every image shown, in order, with the time between its appearance and its end.
WATCH = """
window.seen = [];
new MutationObserver(() => {
  const image = document.querySelector('#image'), last = seen.at(-1), now = performance.now();
  if (!image.hidden && image.src !== last?.src) seen.push({src: image.src, at: now});
  if (image.hidden && last && !last.ms) last.ms = now - last.at;
}).observe(document.querySelector('#stage'), {subtree: true, childList: true, attributes: true})
"""


# All clocks of the page run so many times as fast.
FASTER = """
for (const [owner, name] of [[window, 'requestAnimationFrame'], [window, 'setTimeout']]) {
  const own = owner[name].bind(owner);
  owner[name] = name === 'setTimeout' ? (call, ms) => own(call, ms / SPEED)
    : (call) => own((time) => call(time * SPEED));
}
const now = performance.now.bind(performance);
performance.now = () => now() * SPEED;
"""


@needs_chromium
@pytest.mark.parametrize("speed", [8, pytest.param(1, marks=pytest.mark.nightly)])
def test_one_is_played_through(run, images, tmp_path, speed):
    """By keyboard and touch; every third answer is wrong on purpose."""
    page = make_study(run, images, tmp_path / "out", to="winter", trials=10, practice=2).path
    (block,) = told_by(page)["blocks"]
    browser = Browser(tmp_path)
    try:
        source = FASTER.replace("SPEED", str(speed))
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)
        browser.open(page.as_uri() + "?session=ann", 390, 844, phone=True)
        browser.js(WATCH)
        assert browser.js("document.documentElement.scrollWidth") <= 390
        browser.press("Enter", "\r")
        real = {image["data"] for image in block["real"]}
        wrong = 0
        for k in range(12):
            if k in (0, 2):
                browser.wait("!document.querySelector('#block').hidden")
                browser.press("Enter", "\r")
            browser.wait("!document.querySelector('#first').disabled")
            first, second = browser.js("window.seen.slice(-2).map(each => each.src)")
            assert (first in real) != (second in real)
            answer = "first" if (first in real) != (k % 3 == 0) else "second"
            wrong += k >= 2 and k % 3 == 0
            if k % 2:
                browser.press("1" if answer == "first" else "ArrowRight")
            else:
                browser.touch(*browser.middle(f"#{answer}"))
            browser.wait("document.querySelector('#first').disabled")
            feedback = browser.js("document.querySelector('#feedback').innerText")
            assert feedback.startswith(("No:" if k % 3 == 0 else "Yes:") if k < 2 else "")
            assert bool(feedback) == (k < 2)
        browser.wait("!document.querySelector('#end').hidden")
        saved = browser.saved("#save")
        times = browser.js("window.seen.map(each => each.ms)")
        assert browser.complaints == []
        assert {url.split(":")[0] for url in browser.requests} <= {"file", "data", "blob"}
        nameless = [role for role, name in browser.names() if not name and role != "status"]
        assert nameless == []
    finally:
        browser.close()
    assert re.fullmatch(r"answers-[0-9a-f]{6}-ann\.json", saved.name)
    content = json.loads(saved.read_text("utf-8"))
    trials = content["trials"]
    assert [trial["practice"] for trial in trials] == [True] * 2 + [False] * 10
    assert sum(trial["real_first"] for trial in trials[2:]) == 5  # balanced
    assert len({trial["real"] for trial in trials}) == len({t["generated"] for t in trials}) == 12
    # A second each, up to the frames of a busy machine: never less.
    assert min(ms for trial in trials for ms in trial["shown"]) >= 990
    assert min(times) > 900
    (found,) = score([saved])
    assert (found.participants, found.answers) == (1, 10)
    assert found.share == wrong / 10
    assert content["finished"] is True
