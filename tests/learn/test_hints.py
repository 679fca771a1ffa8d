"""Common wrong answers, as a reader would write them, get their hint."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("jax")

from course import exercises, said_of
from learn.build import as_notebook
from learn.checks import CHECKS

# Lesson, exercise, what is written in the blank, and a part of the hint.
WRONG = [
    (1, "discriminator_loss", "return F.softplus(real).mean() + F.softplus(-generated).mean()",
     "rewards low scores of real points"),
    (1, "discriminator_loss", "return F.softplus(-real).sum() + F.softplus(generated).sum()",
     "take the mean"),
    (1, "discriminator_loss", "return F.softplus(-real).mean()", "only the real points count"),
    (1, "discriminator_loss", "return F.softplus(-real).mean() + F.softplus(-generated).mean()",
     "generated points are asked to be real"),
    (1, "generator_loss", "return -F.softplus(generated).mean()",
     "its slope is nearly 0 where the generator is bad"),
    (1, "generator_loss", "return F.softplus(generated).mean()", "would help it"),
    (1, "play", """
d_loss = discriminator_loss(discriminator(real), discriminator(generated.detach()))
d_loss.backward()
discriminator_adam.step()
g_loss = generator_loss(discriminator(generated))
generator_adam.zero_grad()
g_loss.backward()
generator_adam.step()
""", "call discriminator_adam.zero_grad()"),
    (1, "play", """
d_loss = discriminator_loss(discriminator(real), discriminator(generated))
discriminator_adam.zero_grad()
d_loss.backward(retain_graph=True)
discriminator_adam.step()
g_loss = generator_loss(discriminator(generated))
g_loss.backward()
generator_adam.step()
""", "give it generated.detach()"),
    (1, "play", """
generated = generated.detach()
d_loss = discriminator_loss(discriminator(real), discriminator(generated))
discriminator_adam.zero_grad()
d_loss.backward()
discriminator_adam.step()
g_loss = generator_loss(discriminator(generated))
generator_adam.zero_grad()
g_loss.backward()
generator_adam.step()
""", "the generator has not moved"),
    (1, "best_discriminator", "return p_generated / (p_real + p_generated)", "is generated"),
    (1, "best_discriminator", "return p_real / p_generated", "may be above 1"),
    (1, "even_loss", "even_loss = 0", "that is no draw"),
    (1, "even_loss", "even_loss = math.log(2)", "come on top"),
    (2, "receptive_field", """
side = 1
for kernel, stride in layers:
    side = (side - 1) * stride + kernel
return side
""", "begin at the score"),
    (2, "receptive_field", "return 1 + sum(kernel - 1 for kernel, _ in layers)",
     "strides are missing"),
    (2, "receptive_field", "return 70", "for [(4, 2), (4, 1), (4, 1)] it gives 70, expected 16"),
    (2, "least_squares", "return (scores - target).square().sum()", "not the sum"),
    (2, "least_squares", "return (scores.mean() - target) ** 2", "squares the mean"),
    (2, "least_squares", "return (scores - target).square().mean().item()", "has no gradient"),
    (2, "least_squares_jax", "return ((np.asarray(scores) - target) ** 2).mean()",
     "it raises NameError"),
    (2, "least_squares_jax", "return jnp.asarray(float(jnp.square(scores - target).mean()))",
     "jax.jit cannot trace it"),
    (2, "pull", "return score - 1", "the 2 that comes down"),
    (2, "pull", "return 2 * score", "the target is 1"),
    (2, "squares_for_discriminator",
     "return least_squares(real, 1.0) + least_squares(generated, 0.0)", "the half is missing"),
    (2, "squares_for_discriminator",
     "return 0.5 * (least_squares(real, 0.0) + least_squares(generated, 1.0))", "are swapped"),
    (2, "even_squares", "even_squares = 0.5", "that is the score c"),
    (3, "both_cycles", """
fake_b = generator_ab(real_a)
cycle_a = generator_ba(fake_b.detach())
fake_a = generator_ba(real_b)
cycle_b = generator_ab(fake_a)
""", "cycle_a does not teach generator_ab"),
    (3, "both_cycles", """
fake_b = generator_ab(real_a)
cycle_a = generator_ba(real_a)
fake_a = generator_ba(real_b)
cycle_b = generator_ab(real_b)
""", "cycle_a is made of fake_b"),
    (3, "both_cycles", """
fake_b = generator_ba(real_a)
cycle_a = generator_ab(fake_b)
fake_a = generator_ab(real_b)
cycle_b = generator_ba(fake_a)
""", "named after what it becomes"),
    (3, "cycle_loss",
     "return (cycle_a - real_a).square().mean() + (cycle_b - real_b).square().mean()",
     "these are squares"),
    (3, "cycle_loss", "return (cycle_a - real_a).abs().mean()", "only the cycle of A counts"),
    (3, "cycle_loss", "return (cycle_a - real_a).mean() + (cycle_b - real_b).mean()",
     "cancel out without the absolute value"),
    (3, "cycle_loss_jax",
     "return jnp.abs(cycle_a - real_a).sum() + jnp.abs(cycle_b - real_b).sum()", "not sums"),
    (3, "generators_total",
     "return scores_a.square().mean() + scores_b.square().mean() + weight * cycle",
     "pushed towards 0"),
    (3, "generators_total",
     "return weight * ((scores_a - 1).square().mean() + (scores_b - 1).square().mean() + cycle)",
     "the weight belongs to the cycle loss alone"),
    (3, "free_of_cycle_loss", 'free_of_cycle_loss = {"nothing"}', '"negative"'),
    (3, "free_of_cycle_loss", 'free_of_cycle_loss = {"nothing", "negative", "grey"}',
     "the colours are lost"),
    (4, "identity_loss", "return (generator_ab(real_a) - real_a).abs().mean()",
     "it is given summer"),
    (4, "identity_loss", "return (generator_ab(real_b) - real_b).square().mean()",
     "these are squares"),
    (4, "exchange", "return new", "while the pool is not full"),
    (4, "exchange", """
if len(pool) < size:
    pool.append(new)
return new
""", "only new images are ever shown"),
    (4, "exchange", """
if len(pool) < size:
    pool.append(new)
    return new
return pool[random.integers(size)] if random.random() < 0.5 else new
""", "put the new one in its place"),
    (4, "exchange", """
if len(pool) < size:
    pool.append(new)
    return new
place = random.integers(size)
shown, pool[place] = pool[place], new
return shown
""", "no new image is ever shown"),
    (4, "exchange", """
pool.append(new)
if len(pool) <= size:
    return new
return pool.pop(0) if random.random() < 0.5 else new
""", "its size is 20"),
    (4, "exchange", """
if len(pool) < size:
    pool.append(new)
    return new
if random.random() < 0.5:
    shown, pool[0] = pool[0], new
    return shown
return new
""", "a random one of the pool"),
    (4, "rate_factor", "return 1 - step / steps", "constant over the first half"),
    (4, "rate_factor", "return 1 - max(0, step - steps / 2) / steps", "falls to 1/2 only"),
    (4, "light_stays_light", "return np.corrcoef(before.ravel(), after.ravel())[0, 1]",
     "that of each image"),
    (4, "light_stays_light",
     "return np.mean([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(before, after)])",
     "take the median"),
    (4, "variety", "return np.sqrt(generated.var((1, 2)).mean() / real.var((1, 2)).mean())",
     "a single image repeated"),
    (4, "variety", "return generated.std() / real.std()", "an image repeated would have variety"),
    (5, "kid", """
def k(a, b):
    return (a @ b.T / a.shape[1] + 1) ** 3
return k(x, x).mean() + k(y, y).mean() - 2 * k(x, y).mean()
""", "omit the diagonal"),
    (5, "kid", """
def k(a, b):
    return (a @ b.T + 1) ** 3
def within(a):
    t, n = k(a, a), len(a)
    return (t.sum() - np.trace(t)) / (n * (n - 1))
return within(x) + within(y) - 2 * k(x, y).mean()
""", "lacks its division by d"),
    (5, "better_of", 'return "one" if one.value < other.value else "other"',
     "these images do not tell"),
    (5, "better_of", """
if one.low > other.high:
    return "one"
return "other" if other.low > one.high else "cannot tell"
""", "lower is better"),
    (5, "at_least_as_good", "return sorted(n for n, v in values.items() if v >= values[model])",
     "the model itself is not to be listed"),
    (5, "at_least_as_good", "return sorted(n for n, v in values.items() if v > values[model])",
     "exactly as good counts"),
    (5, "at_least_as_good",
     "return sorted(n for n, v in values.items() if n != model and v >= values[model])",
     "use higher_is_better"),
    (5, "same_in_summer", 'same_in_summer = {("sky", "lake")}', "2 of the three pairs missing"),
    (5, "same_in_summer", 'same_in_summer = {("rock", "meadow")}',
     "meadow and rock do not have the same colour"),
    (5, "follows", 'follows = {"a", "b", "d"}', "one model, one data set, one seed"),
    (5, "follows", 'follows = {"a", "d", "e"}', "rounded afterwards"),
    (5, "follows", 'follows = {"d"}', '"a" says no more than the table'),
]  # fmt: skip


def filled_in(number, name, code):
    """The notebook of a lesson, solved, but for one exercise."""
    notebook = as_notebook(number, solved=True)
    solution = exercises(number)[name].solution
    indent = " " * (len(solution) - len(solution.lstrip()))
    written = "\n".join(indent + line if line else "" for line in code.strip("\n").splitlines())
    for cell in notebook["cells"]:
        if cell["metadata"].get("learn") == name:
            source = "".join(cell["source"])
            assert solution in source
            cell["source"] = source.replace(solution, written).splitlines(keepends=True)
    return notebook


@pytest.mark.parametrize(("number", "name", "code", "hint"), WRONG)
def test_a_common_wrong_answer_gets_its_hint(number, name, code, hint, tmp_path):
    (tmp_path / "mine.ipynb").write_text(json.dumps(filled_in(number, name, code)))
    right, said = said_of(tmp_path / "mine.ipynb")
    assert not right
    (line,) = (each for each in said if each.startswith(f"✗ {name}"))
    assert hint in line


def test_every_exercise_has_a_wrong_answer():
    assert {name for _, name, _, _ in WRONG} == set(CHECKS)
