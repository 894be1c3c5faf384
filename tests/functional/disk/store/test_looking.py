"""Looks at the end of an epoch: what a store says that a place held, and whom it delays."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.digests import FINE, SECTOR, WHOLE_MAX, digests
from remus_ha.disk.errors import StoreCrowded, StoreOrder, StoreSevered
from remus_ha.disk.store.engine import EpochStore
from tests.functional.disk.machine import Orders
from tests.functional.disk.store.test_engine import SIZE, Bed
from tests.functional.disk.store.test_nbd import Client, Store


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.end()


def close(bed: Bed, store: EpochStore, n: int) -> None:
    store.close(n)
    bed.await_prepared(n)


# --- the engine


def test_a_held_epoch_is_read_as_it_ended(bed: Bed) -> None:
    """What comes later is not in it, committed or not."""
    store = bed.open()
    store.write(0, b"0" * 4096)
    close(bed, store, 0)
    store.commit(0)
    store.write(1024, b"1" * 1024)
    store.close(1)
    store.hold(1)
    store.write(0, b"2" * 4096)
    bed.await_prepared(1)
    store.commit(1)
    close(bed, store, 2)
    store.commit(2)
    want = b"0" * 1024 + b"1" * 1024 + b"0" * 2048
    assert store.read_held(1, 0, 4096) == want
    store.let_go()
    assert store.finish() == 2
    assert bed.octets()[:4096] == b"2" * 4096


def test_a_look_begins_while_an_earlier_epoch_is_applied(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for that to begin, only to read."""
    store = bed.open()
    close(bed, store, 0)
    store.commit(0)
    store.write(0, b"1" * 4096)
    close(bed, store, 1)
    applying, going = threading.Event(), threading.Event()
    apply = EpochStore._apply

    def slowly(self: EpochStore, log: object) -> None:
        applying.set()
        assert going.wait(10)
        apply(self, log)  # type: ignore[arg-type]

    monkeypatch.setattr(EpochStore, "_apply", slowly)
    store.commit(1)
    assert applying.wait(10)
    store.write(4096, b"2" * 4096)
    store.close(2)
    store.hold(2)
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(store.read_held(2, 0, 8192)))
    reading.start()
    bed.await_prepared(2)
    store.commit(2)
    assert store.status()["committed"] == 2, "a look delays no commit"
    going.set()
    reading.join(10)
    assert found == [b"1" * 4096 + b"2" * 4096]
    assert bed.octets()[4096:8192] == bytes(4096), "nothing is applied while an epoch is held"
    store.let_go()


def test_a_write_that_is_on_its_way_into_the_epoch_is_waited_for(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bed.open()
    close(bed, store, 0)
    store.commit(0)
    placed, going = threading.Event(), threading.Event()
    place = EpochStore._place

    def slowly(self: EpochStore, offset: int, length: int, *, zeroes: bool) -> object:
        result = place(self, offset, length, zeroes=zeroes)
        placed.set()
        assert going.wait(10)
        return result

    monkeypatch.setattr(EpochStore, "_place", slowly)
    writing = threading.Thread(target=lambda: store.write(0, b"1" * 4096))
    writing.start()
    assert placed.wait(10)
    store.close(1)
    store.hold(1)
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(store.read_held(1, 0, 4096)))
    reading.start()
    reading.join(0.2)
    assert not found
    going.set()
    reading.join(10)
    writing.join(10)
    store.let_go()
    assert found == [b"1" * 4096]


def test_only_the_epoch_closed_last_and_not_committed_can_be_held(bed: Bed) -> None:
    store = bed.open()
    with pytest.raises(StoreOrder):
        store.hold(0)
    close(bed, store, 0)
    for n in (-1, 1, 2):
        with pytest.raises(StoreOrder):
            store.hold(n)
    store.hold(0)
    store.let_go()
    store.commit(0)
    with pytest.raises(StoreOrder):
        store.hold(0)


def test_a_store_with_a_full_journal_says_nothing_of_its_disk(bed: Bed) -> None:
    """Writes that the guest has not seen complete wait there for longer than any look."""
    store = bed.open(limit=4096)
    close(bed, store, 0)
    store.commit(0)
    store.write(0, bytes(8192))
    store.close(1)
    with pytest.raises(StoreCrowded):
        store.hold(1)
    bed.await_prepared(1)
    store.commit(1)
    assert store.finish() == 1, "nothing was held"


def test_a_severed_store_answers_no_look(bed: Bed) -> None:
    store = bed.open()
    store.close(0)
    store.hold(0)
    store.sever()
    with pytest.raises(StoreSevered):
        store.read_held(0, 0, 512)
    store.let_go()
    with pytest.raises(StoreSevered):
        store.hold(0)


# --- the process


def test_a_look_over_the_local_socket(store: Store) -> None:
    client = Client.of(store.nbd)
    assert "wrote" in client.write(0, 4096, 1)
    store.end_epoch(0)
    store.order("commit", 0)
    store.said("committed")
    assert "wrote" in client.write(512, 512, 2)
    orders = Orders(store.setup.socket)
    orders.order("close", 1)
    orders.order("hash", 1, offset=0, length=4096, grain=SECTOR)
    want = b"\1" * 512 + b"\2" * 512 + b"\1" * 3072
    found = orders.said("hashed")
    assert (found["n"], found["digests"]) == (1, [d.hex() for d in digests(want, SECTOR)])
    assert orders.said("prepared")["n"] == 1
    orders.order("commit", 1)
    orders.said("committed")
    client.kill()


@pytest.mark.parametrize(
    ("offset", "length", "grain"),
    [
        (-1, 512, 512),
        (0, 0, 512),
        (0, -5, 512),
        (4 << 20, 512, 512),
        ((4 << 20) - 511, 512, 512),
        (0, WHOLE_MAX + 1, WHOLE_MAX + 1),
        (0, FINE + 1, SECTOR),
        (0, 512, 1),
        (0, 512, 0),
        (1 << 70, 512, 512),
    ],
)
def test_a_look_that_cannot_be_is_refused(
    store: Store, offset: int, length: int, grain: int
) -> None:
    orders = Orders(store.setup.socket)
    orders.order("close", 0)
    orders.order("hash", 0, offset=offset, length=length, grain=grain)
    refused = orders.said("failed")
    assert (refused["do"], refused["error"]["code"]) == ("hash", "DISK-011")
    orders.said("prepared")
    orders.order("commit", 0)
    orders.said("committed")


def test_an_image_that_cannot_be_read_is_said(bed: Bed) -> None:
    """Another thread of the store goes on, and nothing stays held."""
    from remus_ha.disk.orders import Order
    from remus_ha.disk.store.looking import Looker

    store = bed.open()
    store.close(0)
    os.truncate(bed.path, SIZE // 2)
    said: list[dict[str, object]] = []
    told = threading.Event()

    def say(word: str, **more: object) -> None:
        said.append({"said": word, **more})
        told.set()

    Looker(store, say).begin(Order("hash", 0, SIZE - 4096, 4096, SECTOR))
    assert told.wait(10)
    assert said[0]["said"] == "failed"
    assert said[0]["error"]["code"] == "VERIFY-006"  # type: ignore[index]
    bed.await_prepared(0)
    store.commit(0)
    assert store.finish() == 0
