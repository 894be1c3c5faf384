"""A store of a guest that is not protected yet stands still: the guest's writes do not wait for it.

The drivers are the product's, on a real QEMU without a machine, and so are the stores.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.core import backup as backup_table
from remus_ha.disk import tls
from remus_ha.disk.tapdisk.driver import TapdiskDisks
from tests.functional.checkpoint import moved
from tests.functional.checkpoint.pair import UUID, Pair
from tests.functional.checkpoint.test_disks import told
from tests.functional.checkpoint.wire import Wire
from tests.functional.disk import machine
from tests.functional.disk.tapdisk.daemons import stand_still
from tests.functional.disk.writers import Nbd

B = backup_table.State
MIB = 1 << 20
RATE = 4 * MIB  # the copy takes 12 s
LIMIT = 4 * MIB
WRITES = machine.SIZE // MIB  # more than the block server and both sockets hold


class Tapdisk(moved.Tapdisk):
    """With a block server that holds little."""

    def __init__(self, **options: Any) -> None:
        TapdiskDisks.__init__(self, **moved.ours(options), limit=LIMIT)


class Bed:
    """A guest whose disk is being copied."""

    def __init__(self, pair: Pair, entry: str) -> None:
        self.pair = pair
        self.machine = moved.Machine.guest = machine.Guest(pair.root)
        pair.disks, pair.paths = {"xvda": machine.SIZE}, {"xvda": self.machine.image}
        pair.disk_entry = entry
        tls.save(pair.disk_key, rundir.directory("primary", UUID) / "tls")

    def start(self) -> None:
        self.pair.start()
        self.pair.wait(lambda: self._synced() > 0)

    def _synced(self) -> int:
        disks = self.pair.status().get("disks", [])
        return sum(disk["synced_octets"] for disk in disks)

    def store(self) -> int:
        """Its process."""
        (store,) = self.pair.backup_process._stores._stores
        assert store.client is not None
        return store.client.pid

    def write_all(self) -> None:
        """None waits for long; the deadline is of each."""
        client = Nbd(self.machine.nbd, timeout_s=machine.DEADLINE_S)
        for n in range(WRITES):
            client.write(n * MIB, bytes([n + 1]) * MIB)
        client.close()

    def is_as_written(self) -> bool:
        found = self.machine.image.read_bytes()
        return all(found[n * MIB : (n + 1) * MIB] == bytes([n + 1]) * MIB for n in range(WRITES))


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    yield made
    made.close()


@pytest.fixture(params=[f"{moved.__name__}:Qemu", f"{__name__}:Tapdisk"], ids=["qemu", "tapdisk"])
def bed(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Bed]:
    made = Bed(pair, request.param)
    yield made
    made.machine.end()


def ends_unprotected(bed: Bed, why: str, backup: B = B.STOPPED) -> None:
    bed.pair.wait(lambda: (bed.pair.result() or {}).get("state") == "degraded")
    assert "DISK-172 the store of xvda" in told(bed.pair)
    assert why in told(bed.pair)
    assert bed.pair.backup.join() is backup
    assert bed.machine.leftovers() == []
    assert bed.is_as_written()


def test_a_store_that_hangs_during_the_first_copy_holds_no_write(pair: Pair, bed: Bed) -> None:
    pair.disk_rate = RATE
    bed.start()
    stand_still(bed.store())
    bed.write_all()
    ends_unprotected(bed, "it does not answer")


def test_a_store_that_hangs_from_the_beginning_holds_no_write(pair: Pair, bed: Bed) -> None:
    """Nobody has connected to it yet."""
    reply = pair.start_backup()
    pair.wires = [Wire(reply.control_port), Wire(reply.data_port)]
    stand_still(bed.store())
    pair.start_primary(reply)
    bed.write_all()
    ends_unprotected(bed, "it does not answer")


def test_a_store_whose_image_hangs_during_the_first_copy_holds_no_write(
    pair: Pair, bed: Bed
) -> None:
    """The store itself answers: what stands still is the process that writes its image."""
    pair.disk_rate, pair.disk_format = RATE, "qcow2"
    bed.start()
    stand_still(child_of(bed.store(), "qemu-nbd"))
    bed.write_all()
    ends_unprotected(bed, "its writes do not get on")


def child_of(parent: int, name: str) -> int:
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in (task / "children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == name:
                return int(child)
    raise AssertionError(f"no {name} of {parent}")


def test_a_slow_copy_that_is_written_into_goes_on(pair: Pair, bed: Bed) -> None:
    """It takes a multiple of the detection time."""
    pair.disk_rate = RATE
    bed.start()
    bed.write_all()
    assert bed.is_as_written()
    pair.wait_protected(epochs=1)


def test_a_store_that_hangs_before_the_pair_is_sworn_holds_no_write(pair: Pair, bed: Bed) -> None:
    """The first epoch is acknowledged, and no other begins before the witness has answered."""
    gate = pair.root / "gate"
    pair.scenario = "\n".join(
        (
            "import os, time",
            f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)",
            pair.scenario,
        )
    )
    pair.start()
    pair.wait(lambda: pair.status().get("state") == "syncing")
    pair.store.away.add("b")  # the primary is to be the first who asks
    with pair.store.lock:  # it answers nobody
        gate.touch()
        pair.wait(lambda: pair.status().get("detail") == "pairing")
        stand_still(bed.store())
        bed.write_all()
    pair.wait(lambda: bool(pair.result()))
    pair.store.away.clear()
    ends_unprotected(bed, "it does not answer", B.DESTROYED)
