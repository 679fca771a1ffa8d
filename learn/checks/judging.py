"""Lesson 5: judging."""

from types import SimpleNamespace

import numpy as np

from learn.checks.compare import Wrong, ask, choose, expect

__all__ = ["EXERCISES"]


def kid(answer: object) -> None:
    """Against the one of `unpaired`, and against biased and unscaled ones."""
    from unpaired.metrics.distributions import kid as right

    rng = np.random.default_rng(6)
    x, y = rng.normal(0, 1, (7, 5)), rng.normal(0.5, 1, (9, 5))

    def of(scale: float = 5, power: int = 3, cross: float = 2, diagonal: bool = False) -> float:
        def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.asarray((a @ b.T / scale + 1) ** power)

        def within(a: np.ndarray) -> float:
            table, n = kernel(a, a), len(a)
            if diagonal:
                return float(table.mean())
            return float((table.sum() - np.trace(table)) / (n * (n - 1)))

        return within(x) + within(y) - cross * float(kernel(x, y).mean())

    hints = {
        "each image is compared with itself, too: omit the diagonal (i ≠ j), and divide by "
        "n (n - 1)": of(diagonal=True),
        "the mean across the two sets counts twice": of(cross=1),
        "the kernel lacks its division by d, the number of features": of(scale=1),
        "the kernel lacks its third power": of(power=1),
        "the kernel is cubed, not squared": of(power=2),
        "the sign is turned round: it is large where the sets are unlike": -of(),
    }
    expect(ask(answer, x, y), right(x, y).value, "for 7 and 9 images of 5 features", hints)


def better_of(answer: object) -> None:
    """Intervals apart, overlapping, and one within the other."""
    low, high = _interval(0.1, 0.2), _interval(0.3, 0.4)
    if ask(answer, low, high) == "other" or ask(answer, high, low) == "one":
        raise Wrong("lower is better: the one that ends before the other begins")
    apart = {"cannot tell": "0.1 to 0.2 and 0.3 to 0.4 do not overlap"}
    choose(ask(answer, low, high), "one", apart)
    choose(ask(answer, high, low), "other", apart)
    overlap = "0.1 to 0.35 and 0.3 to 0.4 overlap: these images do not tell, though one is lower"
    inside = "0.1 to 0.5 and 0.2 to 0.3 overlap: one lies within the other"
    for one, other, hint in (
        (_interval(0.1, 0.35), high, overlap),
        (high, _interval(0.1, 0.35), overlap),
        (_interval(0.1, 0.5), _interval(0.2, 0.3), inside),
        (_interval(0.2, 0.3), _interval(0.1, 0.5), inside),
    ):
        found = ask(answer, one, other)
        choose(found, "cannot tell", {"one": hint, "other": hint})


def at_least_as_good(answer: object) -> None:
    """Both senses, an equal value, and the model itself."""
    values = {"ours": 20.0, "mean": 21.5, "table": 20.0, "untouched": 9.6}
    found = ask(answer, dict(values), "ours", True)
    if "ours" in found:
        raise Wrong("the model itself is not to be listed")
    names = sorted(found)
    if names == ["mean"]:
        raise Wrong("a method that is exactly as good counts as well: the model has not beaten it")
    if names == ["untouched"] or names == ["table", "untouched"]:
        raise Wrong("these are the methods that the model beats")
    if names != ["mean", "table"]:
        raise Wrong(f"of {values}, higher is better, it gives {names}, expected ['mean', 'table']")
    if list(found) != names:
        raise Wrong("sort the names")
    found = list(ask(answer, dict(values), "ours", False))
    if found == ["mean", "table"]:
        raise Wrong("of a metric whose lower values are better (KID) it gives the same: use "
                    "higher_is_better")  # fmt: skip
    if found != ["table", "untouched"]:
        raise Wrong(f"of {values}, lower is better, it gives {found}, "
                    "expected ['table', 'untouched']")  # fmt: skip


def same_in_summer(answer: object) -> None:
    """Pairs of the seven classes of `lite` with one colour in summer."""
    right = {frozenset(x) for x in (("sky", "lake"), ("meadow", "hill"), ("broadleaf", "conifer"))}
    try:
        found = {frozenset(pair) for pair in answer}  # type: ignore[attr-defined]
    except TypeError:
        raise Wrong('give a set of pairs, such as {("sky", "rock")}') from None
    if extra := found - right:
        pair = " and ".join(sorted(map(str, next(iter(extra)))))
        raise Wrong(f"{pair} do not have the same colour in summer: read the table again, that of "
                    "summer")  # fmt: skip
    if missing := right - found:
        raise Wrong(f"{len(missing)} of the three pairs missing: which colours occur twice?")


def follows(answer: object) -> None:
    """What may be said of a table of single runs."""
    if not isinstance(answer, set | frozenset | list | tuple) or not set(answer) <= set("abcde"):
        raise Wrong("give a set of letters out of a, b, c, d, e")
    said = set(answer)
    for letter, hint in {
        "b": '"b" speaks of fine-tuning as such: the table has one model, one data set, one seed',
        "c": '"c": 0.5 dB between two single trainings is within what the seed alone does',
        "e": '"e": a bar that is rounded afterwards is none. 21.72 is below 22.0',
    }.items():
        if letter in said:
            raise Wrong(hint)
    for letter, hint in {
        "a": '"a" says no more than the table: 21.24 against 19.17, 2 dB, on this data',
        "d": '"d": 21.72 is below 22.0, whatever else was gained',
    }.items():
        if letter not in said:
            raise Wrong(f"one is missing. {hint}")


EXERCISES = (kid, better_of, at_least_as_good, same_in_summer, follows)


def _interval(low: float, high: float) -> SimpleNamespace:
    return SimpleNamespace(value=(low + high) / 2, low=low, high=high)
