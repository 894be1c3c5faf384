"""Kill points: how they are written, and that they kill."""

import signal
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remus_ha.killpoint import HOWS, POINTS, PRIMARY, BadKillPoint, KillPoint

VARIABLE = "REMUS_HA_KILLPOINT"


def test_the_primarys_points_are_those_of_the_classic_script() -> None:
    assert PRIMARY == ("s", "s2", "r", "r2", "c", "c2")


def test_without_the_variable_nothing_happens() -> None:
    point = KillPoint.from_environment({})
    for name in POINTS:
        point.at(name)


@pytest.mark.parametrize(
    "value", ["s", "s:1", "s:1:", "s:x:process", "s:-1:process", "x:1:process", "s:1:guest", ":::"]
)
def test_what_is_no_kill_point_is_refused(value: str) -> None:
    with pytest.raises(BadKillPoint) as caught:
        KillPoint.from_environment({VARIABLE: value})
    assert value in str(caught.value)
    assert "POINT:EPOCHS:HOW" in caught.value.advice


@given(st.text())
def test_any_text_is_a_kill_point_or_refused(value: str) -> None:
    try:
        KillPoint.from_environment({VARIABLE: value})
    except BadKillPoint:
        return
    point, passes, how = value.split(":") if value else ("s", "0", "process")
    assert point in POINTS
    assert passes.isdigit()
    assert how in HOWS


PROGRAM = """
import os
from remus_ha.killpoint import KillPoint
point = KillPoint.from_environment(os.environ)
for n in range(5):
    point.at('s')
    point.at('c')
    print(n, end=' ', flush=True)
"""


@pytest.mark.parametrize(("passes", "printed"), [(0, ""), (2, "0 1 ")])
def test_the_process_dies_at_its_point_after_so_many_passes(passes: int, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={VARIABLE: f"c:{passes}:process"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == printed


def test_the_caretaker_dies_and_its_process_goes_on() -> None:
    caretaker = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    done = subprocess.run(
        [sys.executable, "-c", caretaker, PROGRAM],
        env={VARIABLE: "c:2:caretaker"},
        stdout=subprocess.PIPE,  # to its end: of both processes
        text=True,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "0 1 2 3 4 "
