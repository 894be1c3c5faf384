"""Codes of network buffering and of vifs are stable, their texts complete."""

import string
import subprocess
import sys

import pytest

import remus_ha.hotplug.errors as hotplug_errors
import remus_ha.netbuf.errors as netbuf_errors
from remus_ha.exceptions import RemusError
from remus_ha.netbuf.errors import LimitOutOfRange
from remus_ha.netbuf.plug import HIGHEST_LIMIT_BYTES, LOWEST_LIMIT_BYTES, PlugDriver

ERRORS = [
    error
    for module in (netbuf_errors, hotplug_errors)
    for error in vars(module).values()
    if isinstance(error, type)
    and issubclass(error, RemusError)
    and error.__module__ == module.__name__
]


def test_no_code_is_used_twice() -> None:
    codes = [error.code for error in ERRORS]
    assert len(codes) > 15
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.code)
def test_cause_and_remedy_can_be_told(error: type[RemusError]) -> None:
    names = {
        name
        for text in (error.cause, error.remedy)
        for _, name, _, _ in string.Formatter().parse(text)
        if name
    }
    told = error(**dict.fromkeys(names, "x")).as_dict()
    assert told["cause"]
    assert told["remedy"]


@pytest.mark.parametrize("limit", [0, LOWEST_LIMIT_BYTES - 1, HIGHEST_LIMIT_BYTES + 1])
def test_a_plug_that_could_not_hold_a_large_frame_is_refused(limit: int) -> None:
    with pytest.raises(LimitOutOfRange) as refused:
        PlugDriver(limit)
    assert str(limit) in str(refused.value)


def test_what_a_failover_needs_is_quick_to_import() -> None:
    """pyroute2 is for setting up; neither the epoch loop nor a promotion waits for it."""
    program = (
        "import sys, remus_ha.netbuf.plug, remus_ha.netbuf.announce, remus_ha.hotplug.records;"
        "print(sorted({'pyroute2', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
