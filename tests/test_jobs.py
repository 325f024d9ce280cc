"""Processes that train side by side end with the one that started them, and soon."""

import os
import signal
import time
from multiprocessing import active_children

import pytest

from minigen.errors import MinigenError
from minigen.run.jobs import processes

unix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")


@unix
def test_a_process_that_the_system_killed_is_said_in_a_sentence():
    told = "was killed, .*: use --jobs 1, or more memory; nothing is lost$"
    with pytest.raises(MinigenError, match=told) as raised, processes(1, kept="; nothing is lost") as pool:
        pool.submit(signal.raise_signal, signal.SIGKILL).result()
    assert raised.value.code == 1


def test_what_ends_the_block_ends_them_and_drops_what_waits():
    with pytest.raises(SystemExit), processes(1) as pool:
        waiting = [pool.submit(time.sleep, 60) for _ in range(4)]
        started = active_children()
        began = time.monotonic()
        raise SystemExit(143)
    for process in started:
        process.join(10)
    assert started and time.monotonic() - began < 10 and not any(process.is_alive() for process in started)
    while not all(future.done() for future in waiting):  # cancelled, or of a broken pool
        assert time.monotonic() - began < 20
        time.sleep(0.05)
