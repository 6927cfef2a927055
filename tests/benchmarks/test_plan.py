"""The plan asks only for what there is."""

import inspect
import subprocess
import sys

import pytest

from benchmarks.child import WITH_CLIENT, WITHOUT_CLIENT
from benchmarks.plan import steps
from benchmarks.rows import ROWS

STEPS = [
    pytest.param(step, id=f"{step.name} {kind}") for kind in ("quick", "full") for step in steps(quick=kind == "quick")
]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_fits_its_measure(step):
    measure = WITH_CLIENT.get(step.what) or WITHOUT_CLIENT[step.what]
    takes = {
        name
        for name, parameter in inspect.signature(measure).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert set(step.settings) <= takes
    assert set(step.less) <= set(step.settings)
    assert step.what in ROWS


def test_the_vendor_is_measured_once_and_the_floor_in_every_round():
    step = steps(quick=False)[0]
    assert [step.takes_part("runpod", number) for number in range(3)] == [True, False, False]
    assert all(step.takes_part("floor", number) for number in range(3))


def test_no_measurement_pays_for_what_another_one_loads():
    question = "import sys, benchmarks.child; print({'sqlalchemy', 'psycopg', 'runpod'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
