"""An engine without a framework: enough arithmetic to reveal any lost or repeated state."""

import numpy as np

from unpaired.engines.seam import LOSSES


class FakeEngine:
    shard = (0, 1)
    memory = "host"
    methods = ("trained",)

    def __init__(self, recipe, runtime):
        self.recipe = recipe
        self.bands = {"a": recipe.bands_a, "b": recipe.bands_b}
        shape = (recipe.batch_size, max(recipe.pool_size, 1))
        weights = ("generator_ab", "generator_ba", "discriminator_a", "discriminator_b")
        self.arrays = {f"{name}.gain.weight": np.zeros((2, 2)) for name in weights}
        if recipe.ema:
            self.arrays |= {f"ema.{name}": np.zeros((2, 2)) for name in list(self.arrays)[:2]}
        self.arrays |= {"pool_a": np.zeros(shape), "pool_b": np.zeros(shape)}
        self.arrays["updates"] = np.array(0, np.int64)

    def signature(self):
        return "fake"

    def train_step(self, batch, rate_factor):
        seen = {"a": batch.real_a.mean((1, 2, 3)), "b": batch.real_b.mean((1, 2, 3))}
        for side, plan in (("a", batch.pool_a), ("b", batch.pool_b)):
            lanes = np.flatnonzero(plan.store)
            self.arrays[f"pool_{side}"][lanes, plan.slot[lanes]] = seen[side][lanes]
        drive = seen["a"].sum() + 2 * seen["b"].sum() + self.arrays["pool_a"].mean()
        for index, name in enumerate(n for n in self.arrays if n.endswith(".weight")):
            towards = np.sin(drive + index) / 5
            self.arrays[name] = self.arrays[name] + rate_factor * (towards - self.arrays[name]) / 10
        self.arrays["updates"] = np.array(self.arrays["updates"] + 1)
        on = [n for n in LOSSES if self.recipe.identity_weight or not n.startswith("identity")]
        return {name: abs(np.cos(drive + k)) for k, name in enumerate(on)}

    def use(self, method):
        assert method in self.methods

    def translate(self, images, direction):
        gain = 1 + self.arrays[f"generator_{direction}.gain.weight"].mean()
        flat = np.clip(images.mean(-1, keepdims=True) * gain, -1, 1).astype(np.float32)
        return np.repeat(flat, self.bands[direction[1]], axis=-1)

    def judge(self, images, domain):
        return images.mean(-1).astype(np.float32)[:, ::8, ::8]

    def state(self):
        return {name: array.copy() for name, array in self.arrays.items()}

    def load(self, arrays):
        self.arrays.update({name: np.array(array) for name, array in arrays.items()})

    load_generators = load
