"""The inputs of one training step after another, made in a thread while the step before runs."""

import time
from concurrent.futures import ThreadPoolExecutor


class Ahead:
    """make(step) -> the inputs of a step, a pure function; `thread`: those of the next step are begun as soon as those
    of a step are taken. `waited` is how many seconds the calls of `take` lasted. A context manager: at its end the
    thread ends too, after the inputs that it is making."""

    def __init__(self, make, thread: bool):
        self.make, self.thread, self.waited = make, thread, 0.0
        self.pool, self.step, self.begun = ThreadPoolExecutor(1), None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown(cancel_futures=True)

    def take(self, step: int):
        """The inputs of this step, of any step: what was begun for another is left. Raises what `make` raised."""
        start = time.perf_counter()
        if not self.thread:
            inputs = self.make(step)
        else:
            inputs = (self.begun if self.step == step else self.pool.submit(self.make, step)).result()
            self.step, self.begun = step + 1, self.pool.submit(self.make, step + 1)
        self.waited += time.perf_counter() - start
        return inputs
