"""Guests of other shapes than the standard one: they survive a power cut like any other."""

import pytest

from remus_ha.lab.plan import Link
from remus_ha.lab.xlconfig import GuestSpec
from tests.lab.support.protection import Protection
from tests.lab.support.stage import Guest, Stage

NAME = "shape"
KIB_S = 20 << 10  # of memory dirtied a second, more than the link carries
DIRTY_MIB = 24
SLOW = "80mbit"
BALLOONED_MIB, FULL_MIB = 72, 96


def _survives_a_cut(stage: Stage, p: Protection) -> None:
    p.wait_checkpoints(3)
    p.guest.clients.wait_answers()
    stage.lab.cut(p.primary)
    p.wait_failed_over()
    p.guest.clients.wait_answers()


def _facts(stage: Stage, guest: Guest) -> tuple[str, str]:
    """Memory in MiB and number of vCPUs, as xl lists them."""
    memory, vcpus = stage.host(guest.host).shell.text(f"xl list {NAME}").split()[-4:-2]
    return memory, vcpus


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(GuestSpec(NAME, memory_mib=64, vifs=4), id="small, four vifs"),
        pytest.param(GuestSpec(NAME, memory_mib=256, vcpus=4, vifs=2), id="four processors"),
        pytest.param(GuestSpec(NAME, memory_mib=1024, vcpus=2), id="large"),
    ],
)
def test_it_survives_a_power_cut(stage: Stage, spec: GuestSpec) -> None:
    """The copy has as much memory, as many processors and vifs."""
    stage.drop_guest()
    guest = stage.create(spec, "a")
    before = _facts(stage, guest)
    with Protection(stage, guest) as p:
        _survives_a_cut(stage, p)
        assert _facts(stage, guest) == before
    stage.drop_guest()


def test_a_guest_that_dirties_more_than_the_link_carries(stage: Stage) -> None:
    """Its checkpoints get rarer and its answers later; it is protected all the same."""
    guest = stage.guest()
    stage.lab.slow(guest.host, Link.REPL, SLOW)
    try:
        with Protection(stage, guest) as p:
            guest.control.dirty(KIB_S, DIRTY_MIB)
            _survives_a_cut(stage, p)
    finally:
        stage.lab.slow(guest.other if guest.moves else guest.host, Link.REPL, None)
    stage.drop_guest()


def test_a_guest_whose_memory_shrinks_and_grows(stage: Stage) -> None:
    """Ballooned down before it is protected, and up meanwhile."""
    guest = stage.guest(fresh=True)
    shell = stage.host(guest.host).shell
    shell.run(f"xl mem-set {guest.name} {BALLOONED_MIB}")
    with Protection(stage, guest) as p:
        p.wait_checkpoints(2)
        shell.run(f"xl mem-set {guest.name} {FULL_MIB}")
        _survives_a_cut(stage, p)
    stage.drop_guest()
