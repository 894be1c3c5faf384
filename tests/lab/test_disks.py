"""A guest with disks: after an accident its disks are those of the epoch its memory comes from.

Eight writers in the guest keep the numbers of their completed writes in its memory, so the guest
itself finds whatever is missing on its disks, and whatever is there too early.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from remus_ha.lab.disks import DiskControl, Verdict
from tests.lab.support.protection import Protection
from tests.lab.support.stage import Guest, Stage

DISKS = 2
# As fast as they can they take all of an emulated host, and the first copy takes minutes.
KIB_S_AT_FIRST, KIB_S = 32, 1024
ROUNDS = 20
GATE_ROUNDS = 3
DRIVERS = ("tapdisk", "qemu")
ENGINE = "/usr/lib/python3/dist-packages/remus_ha/disk/store"


def until(true: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Ask the guest, over the network, until it says so."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline


def writing(stage: Stage, guest: Guest) -> DiskControl:
    """The guest's disk program, its writers at work."""
    disks = stage.lab.guests.disks(guest.name)
    disks.start(KIB_S_AT_FIRST)
    begun = disks.stat().completed
    until(lambda: disks.stat().completed >= begun + 10)
    return disks


def settle(disks: DiskControl) -> None:
    """Let the writers finish what they are at: the disks are at rest then."""
    disks.stop()
    until(lambda: not disks.stat().in_flight)


def judged(disks: DiskControl) -> Verdict:
    """Settle, then compare disks and memory."""
    settle(disks)
    return disks.verify()


def survives_a_cut(p: Protection, disks: DiskControl) -> None:
    """The primary loses its power: the copy's disks are those of the epoch of its memory."""
    p.stage.lab.cut(p.primary)
    p.wait_failed_over()
    verdict = judged(disks)
    assert verdict.clean, verdict
    assert verdict.checked > 0
    assert disks.stat().errors == 0


def _rounds() -> list[object]:
    gate = [pytest.param(n, marks=pytest.mark.gate) for n in range(GATE_ROUNDS)]
    return [*gate, *range(GATE_ROUNDS, ROUNDS)]


@pytest.mark.parametrize("seed", _rounds())
def test_after_a_power_cut_memory_and_disks_are_at_one_epoch(stage: Stage, seed: int) -> None:
    """Rounds take turns at the two drivers."""
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    with Protection(stage, guest, "--disk-driver", DRIVERS[seed % 2]) as p:
        disks.start(KIB_S)
        p.wait_checkpoints(random.Random(seed).randint(3, 25))
        survives_a_cut(p, disks)


@contextmanager
def applying_at_once(stage: Stage, host: str) -> Iterator[None]:
    """Stores on ``host`` that keep no epoch apart."""
    shell = stage.host(host).shell
    shell.run(
        f"sed -i 's/if self._open == 0:/if True:/' {ENGINE}/engine.py"
        f" && rm -f {ENGINE}/__pycache__/engine.*"
    )
    try:
        yield
    finally:
        shell.run("rm /run/lab-push")
        stage.lab.push()
        stage.drop_guest()


def found_out(stage: Stage, guest: Guest) -> None:
    """Hold that the judge finds writes of a later epoch after a power cut.

    The cut comes at the end of an epoch: all that was written in it is there, and is not real.
    """
    disks = writing(stage, guest)
    with Protection(stage, guest, environment="REMUS_HA_KILLPOINT=s:20:host") as p:
        disks.start(KIB_S)
        p.wait_failed_over()
        stage.lab.cut(p.primary)
        verdict = judged(disks)
        assert not verdict.clean, verdict
        assert verdict.later or verdict.corrupt, verdict


def test_a_store_that_applies_at_once_is_found_out(stage: Stage) -> None:
    """The negative control: without epochs apart, the same judge finds later writes."""
    guest = stage.guest(disks=DISKS)
    with applying_at_once(stage, guest.other):
        found_out(stage, guest)
