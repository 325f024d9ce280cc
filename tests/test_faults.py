"""Every planted fault is seen by its judge, and the code as it stands is not: tests that can fail."""

import importlib

import numpy as np
import pytest
from faults import FAULTS, planted
from judges import JUDGES


@pytest.mark.parametrize("module", JUDGES)
def test_the_code_as_it_stands_passes(module):
    with np.errstate(all="ignore"):  # some are led to infinity on purpose
        JUDGES[module](planted(module))
        if not module.startswith("kernels"):  # there a copy is plain Python, and the module itself compiled
            JUDGES[module](importlib.import_module(f"minigen.{module.replace('/', '.')}"))


@pytest.mark.parametrize("module, what", [(module, what) for module in FAULTS for what, _, _ in FAULTS[module]])
def test_a_fault_is_seen(module, what):
    """By the verdict of the judge: code that merely crashes is a bad example of a fault."""
    (fault,) = [fault for fault in FAULTS[module] if fault[0] == what]  # no two have a name
    copy = planted(module, *fault[1:])
    with pytest.raises(AssertionError) as caught, np.errstate(all="ignore"):
        JUDGES[module](copy)
    assert caught.traceback[-1].path.name in ("judges.py", "music_judges.py")


def test_there_are_faults_for_every_judge():
    assert list(FAULTS) == list(JUDGES) and min(map(len, FAULTS.values())) >= 5
    assert sum(map(len, FAULTS.values())) >= 550  # as the README has it
    with pytest.raises(AssertionError, match="0 times, not once"):
        planted("lstm", "no such line")
