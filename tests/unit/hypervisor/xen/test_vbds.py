"""Which guest has a device, as xenstore has it, which is played."""

import os

import pytest

from remus_ha.hypervisor.xen.vbds import found
from tests.unit.hypervisor.xen.test_devicewatch import DOMID, Xenstore

NAME = f"/local/domain/{DOMID}/name"


@pytest.fixture
def xenstore() -> Xenstore:
    made = Xenstore()
    made.nodes[NAME] = "web1"
    made.put("vbd", 51712, params="/srv/other.img", physical_device="7:0")
    made.put("vbd", 51728, params="/dev/nbd5", physical_device="2b:a0")
    return made


def test_a_device_is_found_by_its_name(xenstore: Xenstore) -> None:
    assert found(xenstore, "/dev/nbd5") == "web1"
    assert found(xenstore, "/dev/nbd") == ""


def test_a_device_is_found_by_its_number(xenstore: Xenstore) -> None:
    """The guest's configuration may have another name for it."""
    number = os.stat("/dev/null").st_rdev
    xenstore.put("vbd", 51728, physical_device=f"{os.major(number):x}:{os.minor(number):x}")
    assert found(xenstore, "/dev/null") == "web1"
    xenstore.put("vbd", 51728, physical_device="0:0")
    assert found(xenstore, "/dev/null") == ""


def test_what_a_dead_guest_has_left_is_no_use(xenstore: Xenstore) -> None:
    del xenstore.nodes[NAME]
    assert found(xenstore, "/dev/nbd5") == ""
