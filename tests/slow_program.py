"""The program with slow networks in numpy: `python slow_program.py SECONDS ARGUMENT...`.

It writes the line "begun" to standard output when its first network works.
"""

import sys
import time

import unpaired.engines.loading
import unpaired.training.loop
from fake_engine import FakeEngine
from unpaired.cli.main import main


class SlowEngine(FakeEngine):
    seconds = float(sys.argv.pop(1))
    begun = False

    def work(self):
        if not SlowEngine.begun:
            SlowEngine.begun = True
            print("begun", flush=True)
        time.sleep(self.seconds)

    def train_step(self, batch, rate_factor):
        self.work()
        return super().train_step(batch, rate_factor)

    def translate(self, images, direction):
        self.work()
        return super().translate(images, direction)


unpaired.training.loop.make_engine = SlowEngine
unpaired.engines.loading.make_translator = SlowEngine
sys.exit(main())
