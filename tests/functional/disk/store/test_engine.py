"""The epoch store on real files: what its image holds after any order of calls, and a death."""

import errno
import os
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from remus_ha.disk.ack import Ack
from remus_ha.disk.errors import (
    EpochUnkept,
    ImageStill,
    StoreOrder,
    StoreOutgrown,
    StorePoisoned,
    StoreSevered,
    StoreState,
)
from remus_ha.disk.store import engine, log
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.image import Image
from remus_ha.disk.store.log import EpochLog

SIZE = 1 << 20
Make = Callable[..., EpochStore]


class Bed:
    """One image, and the stores that are made on it one after the other."""

    def __init__(self, directory: Path) -> None:
        self.path, self.directory = directory / "disk.img", directory / "journal"
        self.store: EpochStore | None = None
        self.prepared: list[int] = []
        self.thread: threading.Thread | None = None

    def open(self, **options: object) -> EpochStore:
        image = Image.take(self.path, SIZE, known=True)
        store = EpochStore(disk="xvda", image=image, directory=self.directory, **options)  # type: ignore[arg-type]
        store.prepared = self.prepared.append
        self.store, self.thread = store, threading.Thread(target=self._prepare, args=(store,))
        self.thread.start()
        return store

    def _prepare(self, store: EpochStore) -> None:
        while store.prepare() is not None:
            pass

    def close(self) -> None:
        if self.store is not None and self.thread is not None:
            self.store.end()
            self.thread.join()
        self.store = None

    def octets(self) -> bytes:
        return self.path.read_bytes()

    def await_prepared(self, n: int) -> None:
        end = time.monotonic() + 10
        while n not in self.prepared:
            assert time.monotonic() < end, f"epoch {n} was never prepared"
            time.sleep(0.001)


@pytest.fixture
def bed(tmp_path: Path) -> "object":
    made = Bed(tmp_path)
    yield made
    made.close()


def begin(bed: Bed, **options: object) -> EpochStore:
    """A store that is past its synchronisation: epoch 0 committed."""
    store = bed.open(**options)
    end_epoch(bed, store, 0)
    return store


def end_epoch(bed: Bed, store: EpochStore, n: int, *, commit: bool = True) -> None:
    store.close(n)
    bed.await_prepared(n)
    if commit:
        store.commit(n)


def test_an_uncommitted_epoch_never_touches_the_image(bed: Bed) -> None:
    store = begin(bed)
    store.write(4096, b"a" * 512)
    end_epoch(bed, store, 1)
    store.write(4096, b"b" * 512)
    end_epoch(bed, store, 2, commit=False)
    store.write(8192, b"c" * 512)
    assert store.read(4096, 512) == b"b" * 512
    assert store.read(4096, 512, upto=1) == b"a" * 512
    assert store.finish() == 1
    assert bed.octets()[4096:8704] == b"a" * 512 + bytes(4096)


def test_the_synchronisation_is_epoch_0(bed: Bed) -> None:
    store = bed.open()
    store.write(0, b"s" * 4096)
    store.zero(2048, 1024)
    end_epoch(bed, store, 0)
    assert store.finish() == 0
    assert bed.octets()[:4096] == b"s" * 2048 + bytes(1024) + b"s" * 1024


@pytest.mark.parametrize("ack", list(Ack))
def test_a_synchronisation_is_synced_on_its_way(
    bed: Bed, ack: Ack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left for the end of epoch 0, which must be quick, is bounded."""
    monkeypatch.setattr(engine, "SYNC_OCTETS", 65536)
    synced: list[int] = []
    monkeypatch.setattr(Image, "sync", lambda image: synced.append(store.status()["synced_octets"]))
    store = bed.open(ack=ack)
    for n in range(SIZE // 4096):
        store.write(n * 4096, bytes(4096))
    assert synced == list(range(65536, SIZE + 1, 65536))


@pytest.mark.parametrize("ack", list(Ack))
def test_random_epochs_end_up_in_the_image(bed: Bed, ack: Ack) -> None:
    rng = random.Random(7)
    expected = bytearray(SIZE)
    store = begin(bed, ack=ack)
    for n in range(1, 20):
        for _ in range(rng.randrange(40)):
            offset = 512 * rng.randrange(SIZE // 512)
            length = min(512 * rng.randint(1, 64), SIZE - offset)
            if rng.random() < 0.2:
                store.zero(offset, length)
                expected[offset : offset + length] = bytes(length)
            else:
                data = rng.randbytes(length)
                store.write(offset, data)
                expected[offset : offset + length] = data
            if rng.random() < 0.1:
                assert store.read(offset, length) == expected[offset : offset + length]
        end_epoch(bed, store, n)
    assert store.finish() == 19
    assert bed.octets() == bytes(expected)


def test_a_dead_store_is_taken_up(bed: Bed, tmp_path: Path) -> None:
    """A child dies by ``os._exit`` after commit(1), with epoch 2 prepared and 3 open."""
    child = os.fork()
    if child == 0:
        # The applier must not get to epoch 1: a pin holds it back, then the process dies.
        store = begin(bed)
        pin = store.pinned()
        pin.__enter__()
        store.write(0, b"1" * 512)
        end_epoch(bed, store, 1)
        store.write(0, b"2" * 512)
        end_epoch(bed, store, 2, commit=False)
        store.write(0, b"3" * 512)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert bed.octets()[:512] == bytes(512)
    store = bed.open(anew=False)
    with pytest.raises(StoreSevered):
        store.write(0, b"4" * 512)
    store.commit(2)  # what the receiver had begun is rolled forward
    assert store.finish() == 2
    assert bed.octets()[:512] == b"2" * 512


def test_a_dead_store_drops_what_was_not_committed(bed: Bed) -> None:
    child = os.fork()
    if child == 0:
        store = begin(bed)
        store.write(0, b"1" * 512)
        end_epoch(bed, store, 1, commit=False)
        os._exit(7)
    os.waitpid(child, 0)
    store = bed.open(anew=False)
    assert store.finish() == 0
    assert bed.octets()[:512] == bytes(512)
    assert not list(bed.directory.glob("epoch-*"))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lambda log: log[:-1], "does not end as an epoch"),
        (lambda log: log[:16], "breaks off"),
        (lambda log: log[:512] + b"ab" + log[514:], "not as they were"),
    ],
)
def test_what_a_dead_store_left_is_taken_up_whole_or_not_at_all(
    bed: Bed, broken: Callable[[bytes], bytes], told: str
) -> None:
    child = os.fork()
    if child == 0:
        store = begin(bed)
        store.write(0, b"1" * 512)
        end_epoch(bed, store, 1, commit=False)
        os._exit(7)
    os.waitpid(child, 0)
    log = bed.directory / "epoch-1"
    log.write_bytes(broken(log.read_bytes()))
    with pytest.raises(StoreState, match=told):
        bed.open(anew=False)


def test_after_the_connection_is_lost_no_epoch_is_closed(bed: Bed) -> None:
    store = begin(bed)
    store.write(0, b"1" * 512)
    store.sever()
    with pytest.raises(StoreSevered):
        store.write(512, b"1" * 512)
    with pytest.raises(StoreSevered):
        store.close(1)
    assert store.finish() == 0


@contextmanager
def file_size_limited(octets: int) -> Iterator[None]:
    """What lies behind cannot be written, in any file of this process: EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Late:
    """A write that is on its way for as long as the test wants."""

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *arguments: object) -> object:
        self.begun.set()
        assert self.go_on.wait(10)
        with file_size_limited(512):
            return self._call(*arguments)


@pytest.mark.parametrize("n", [0, 1])
def test_an_epoch_that_a_write_failed_in_is_never_prepared(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    """It was closed while the write was on its way: the failure counted as an arrival."""
    store = bed.open()
    if n == 1:
        end_epoch(bed, store, 0)
        store.write(0, b"1" * 512)  # it would look like a whole epoch
    prepared = threading.Event()
    store.prepared = lambda _: prepared.set()
    place, name = (os, "pwrite") if n == 0 else (log, "_put_all")
    late = Late(getattr(place, name))
    monkeypatch.setattr(place, name, late)
    failed: list[OSError] = []

    def write() -> None:
        try:
            store.write(4096, b"2" * 4096)
        except OSError as e:
            failed.append(e)

    writer = threading.Thread(target=write)
    writer.start()
    assert late.begun.wait(10)
    store.close(n)
    late.go_on.set()
    writer.join()
    monkeypatch.undo()
    assert [e.errno for e in failed] == [errno.EFBIG]
    assert not prepared.wait(0.2)
    with pytest.raises(StoreOrder):
        store.commit(n)
    assert store.finish() == n - 1


def assert_only_epoch_2_is_lost(bed: Bed, store: EpochStore, octets: int = 512) -> None:
    assert isinstance(store.loss, EpochUnkept)
    with pytest.raises(StoreOrder):
        store.commit(2)
    assert store.finish() == 1
    assert bed.octets()[:octets] == b"1" * octets


def test_an_epoch_that_cannot_be_written_down_costs_no_earlier_one(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = begin(bed, ack=Ack.DURABLE)
    lost = threading.Event()
    store.lost = lost.set
    store.write(0, b"1" * 512)
    end_epoch(bed, store, 1)
    store.write(0, b"2" * 512)

    def fail(_log: EpochLog) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(EpochLog, "sync", fail)
    store.close(2)
    assert lost.wait(10)
    assert_only_epoch_2_is_lost(bed, store)


def test_an_epoch_that_is_dropped_while_it_is_written_down(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is closed meanwhile; nobody minds."""
    store = begin(bed, ack=Ack.DURABLE)
    begun, go_on = threading.Event(), threading.Event()
    sync = EpochLog.sync

    def late(log: EpochLog) -> None:
        begun.set()
        assert go_on.wait(10)
        sync(log)

    monkeypatch.setattr(EpochLog, "sync", late)
    store.write(0, b"1" * 512)
    store.close(1)
    assert begun.wait(10)
    store.drop()
    go_on.set()
    assert store.finish() == 0
    assert store.loss is None
    assert store.status()["poisoned"] == ""
    assert bed.thread is not None
    assert bed.thread.is_alive()


def test_an_epoch_whose_places_find_no_room_costs_no_earlier_one(bed: Bed) -> None:
    """Its data is in the journal, which is full then."""
    store = begin(bed)
    lost = threading.Event()
    store.lost = lost.set
    store.write(0, b"1" * 4096)
    end_epoch(bed, store, 1)
    store.write(0, b"2" * 4096)
    with file_size_limited(4096):
        store.close(2)
        assert lost.wait(10)
    assert_only_epoch_2_is_lost(bed, store, octets=4096)


def test_an_epoch_is_not_dropped_from_under_who_writes_its_places(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would go into whatever file had got the number of the closed one."""
    store = begin(bed)
    begun, go_on = threading.Event(), threading.Event()
    seal = EpochLog.seal

    def late(log: EpochLog) -> None:
        begun.set()
        assert go_on.wait(10)
        seal(log)

    monkeypatch.setattr(EpochLog, "seal", late)
    store.write(0, b"1" * 512)
    store.close(1)
    assert begun.wait(10)
    dropping = threading.Thread(target=store.drop)
    dropping.start()
    dropping.join(0.2)
    assert dropping.is_alive()
    go_on.set()
    dropping.join(10)
    assert not dropping.is_alive()
    assert store.finish() == 0
    assert store.status()["poisoned"] == ""


def test_small_writes_fill_the_journal_by_what_they_take_of_the_memory(bed: Bed) -> None:
    store = begin(bed, limit=64 << 10)
    for place in range(0, 514, 2):
        store.zero(place, 1)
    assert Writer(store).waits(0.2), "257 writes of one octet"
    end_epoch(bed, store, 1)


def test_an_epoch_that_cannot_be_begun_is_never_closed(bed: Bed) -> None:
    """Its first write got an error, and an epoch without any was prepared, of old."""
    store = begin(bed)
    away = bed.directory.with_name("away")
    bed.directory.rename(away)
    with pytest.raises(FileNotFoundError):
        store.write(0, b"1" * 512)
    away.rename(bed.directory)
    with pytest.raises(EpochUnkept, match="No such file"):
        store.write(512, b"1" * 512)
    with pytest.raises(EpochUnkept):
        store.close(1)
    assert store.finish() == 0
    assert bed.octets()[:1024] == bytes(1024)


def test_orders_out_of_turn_are_refused(bed: Bed) -> None:
    store = begin(bed)
    with pytest.raises(StoreOrder):
        store.close(2)
    with pytest.raises(StoreOrder):
        store.commit(1)
    end_epoch(bed, store, 1)
    store.commit(1)  # again: it is committed already
    with pytest.raises(StoreOrder):
        store.commit(3)


def test_a_write_outside_of_the_disk_is_refused(bed: Bed) -> None:
    store = begin(bed)
    with pytest.raises(ValueError, match="of a disk of"):
        store.write(SIZE - 512, b"x" * 1024)


def test_a_full_journal_makes_writes_wait(bed: Bed) -> None:
    store = begin(bed, limit=64 << 10)
    store.write(0, b"x" * (128 << 10))
    written = threading.Event()

    def write() -> None:
        store.write(0, b"y" * 512)
        written.set()

    threading.Thread(target=write, daemon=True).start()
    assert not written.wait(0.2)
    end_epoch(bed, store, 1)
    assert written.wait(10)


class Writer(threading.Thread):
    """One write of 512 octets, and what came of it."""

    def __init__(self, store: EpochStore) -> None:
        super().__init__(daemon=True)
        self.store, self.error = store, ""
        self.start()

    def run(self) -> None:
        try:
            self.store.write(0, b"w" * 512)
        except (ImageStill, StoreOutgrown, StoreSevered) as e:
            self.error = str(e)

    def waits(self, seconds: float) -> bool:
        self.join(seconds)
        return self.is_alive()

    def outcome(self) -> str:
        assert not self.waits(10), "it hangs"
        return self.error


def test_an_epoch_that_outgrows_the_journal_severs_the_store(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end may be behind the very write that waits for it: that one waited for ever."""
    monkeypatch.setattr(engine, "PATIENCE_S", 0.3)
    store = begin(bed, limit=64 << 10)
    told: list[str] = []
    store.lost = lambda: told.append(str(store.loss))
    store.write(0, b"x" * (128 << 10))
    writers = [Writer(store) for _ in range(3)]
    error = "DISK-171: the open epoch of xvda has outgrown the journal of 65536 octets"
    assert all(writer.outcome().startswith(error) for writer in writers)
    with pytest.raises(StoreOutgrown):
        store.close(1)
    assert [why[: len(error)] for why in told] == [error]
    assert store.finish() == 0
    assert bed.octets() == bytes(SIZE)


def test_a_write_waits_for_as_long_as_epochs_are_applied(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes, and however large the open epoch is."""
    monkeypatch.setattr(engine, "PATIENCE_S", 0.1)
    store = begin(bed, limit=64 << 10)
    with store.pinned():
        store.write(0, b"x" * (40 << 10))
        end_epoch(bed, store, 1)
        store.write(0, b"y" * (40 << 10))
        writer = Writer(store)
        assert writer.waits(0.5)
    assert writer.outcome() == ""
    with store.pinned():
        end_epoch(bed, store, 2)
        store.write(0, b"z" * (80 << 10))
        writer = Writer(store)
        assert writer.waits(0.5)
        assert store.loss is None
    assert "DISK-171" in writer.outcome(), "now there is nothing but its own epoch"


def test_an_image_that_hangs_severs_the_store_when_the_journal_is_full(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest's write would hang as long as the image's disk does. No octet is lost with it."""
    monkeypatch.setattr(engine, "IMAGE_S", 0.3)
    goes_on = threading.Event()
    copy_from = Image.copy_from

    def hang(*args: object) -> None:
        assert goes_on.wait(60)
        copy_from(*args)  # type: ignore[arg-type]

    late, next_work = threading.Event(), EpochStore._next_work

    def look_late(self: EpochStore) -> Callable[[], None] | None:
        assert self.progress.applied < 0 or late.wait(60)
        return next_work(self)

    monkeypatch.setattr(Image, "copy_from", hang)
    monkeypatch.setattr(EpochStore, "_next_work", look_late)
    store = begin(bed, limit=64 << 10)
    told: list[str] = []
    store.lost = lambda: told.append(str(store.loss))
    store.write(0, b"x" * (64 << 10))
    writer = Writer(store)
    assert writer.waits(0.1), "nothing is committed yet"
    end_epoch(bed, store, 1)
    writer.join(0.1)  # it looks, and the applying has not begun
    late.set()  # nobody tells a write that waits of that
    error = "DISK-173: the journal of xvda, 65536 octets, is full"
    assert store.status()["writing"] == 1, "the receiver sees it as well, and need not wait so long"
    assert writer.outcome().startswith(error)
    assert len(told) == 1
    goes_on.set()
    assert store.finish() == 1
    assert bed.octets()[: 64 << 10] == b"x" * (64 << 10)


def test_an_image_that_is_slow_is_waited_for(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece takes less than the patience, all of them together far more."""
    monkeypatch.setattr(engine, "IMAGE_S", 2.0)
    copy_from = Image.copy_from

    def slow(*args: object) -> None:
        time.sleep(0.2)
        copy_from(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "copy_from", slow)
    store = begin(bed, limit=64 << 10)
    for place in range(16):  # apart, so that they do not become one piece
        store.write(place * 8192, b"x" * 4096)
    end_epoch(bed, store, 1)
    assert Writer(store).outcome() == ""


def test_an_image_that_fails_poisons_the_store(bed: Bed) -> None:
    store = begin(bed)
    told: list[StorePoisoned] = []
    store.failed = told.append
    os.truncate(bed.path, SIZE)
    store._image.copy_from = _fail  # type: ignore[assignment, method-assign]  # as a device fails
    store.write(0, b"x" * 512)
    end_epoch(bed, store, 1)
    with pytest.raises(StorePoisoned):
        store.finish()
    with pytest.raises(StorePoisoned):
        store.write(0, b"x")
    assert len(told) == 1
    assert store.status()["poisoned"]


class LosingImage(Image):
    """On a disk that loses what it took since the last sync, and says so to one sync alone."""

    lost_at = 0  # the sync, counted from 1

    def sync(self) -> None:
        self.lost_at -= 1
        kept = self.path.with_name("kept")
        if not self.lost_at:
            self.path.write_bytes(kept.read_bytes())
            _fail()
        kept.write_bytes(self.path.read_bytes())


def on_losing_disk(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> EpochStore:
    """Epoch 0 is on its disk; what comes then is lost."""
    monkeypatch.setattr(engine, "SYNC_S", 0.05)
    losing = LosingImage.take(bed.path, SIZE, known=True)
    monkeypatch.setattr(Image, "take", lambda *_, **__: losing)
    store = bed.open()
    store.write(0, b"0" * 4096)
    end_epoch(bed, store, 0)
    losing.lost_at = 1  # type: ignore[attr-defined]
    return store


def test_an_image_that_loses_what_it_took_poisons_the_store_before_the_failover(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write of it goes well: a disk's error at write-back is told at a sync."""
    store = on_losing_disk(bed, monkeypatch)
    failed = threading.Event()
    store.failed = lambda _: failed.set()
    end_epoch(bed, store, 1)
    assert not failed.wait(0.3), "nothing was written: there is nothing to lose"
    store.write(0, b"x" * 512)
    end_epoch(bed, store, 2)
    assert failed.wait(10)
    with pytest.raises(StorePoisoned):
        store.write(0, b"x")


def test_who_takes_up_a_store_writes_again_what_its_disk_has_lost(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has told its error to the store that is gone, and tells nobody else."""
    store = on_losing_disk(bed, monkeypatch)
    for n in range(1, 4):
        store.write(n * 4096, bytes([n]) * 4096)
        end_epoch(bed, store, n)
    with pytest.raises(StorePoisoned):
        store.finish()
    monkeypatch.undo()
    bed.close()
    store = bed.open(anew=False)
    assert store.finish() == 3
    assert bed.octets()[: 4 * 4096] == b"0" * 4096 + b"".join(bytes([n]) * 4096 for n in (1, 2, 3))


def test_a_poisoned_store_leaves_a_prepared_epoch_to_whoever_takes_it_up(bed: Bed) -> None:
    """Its commit may have been begun: all of the guest's other disks have it."""
    store = begin(bed)
    poisoned = threading.Event()
    store.failed = lambda _: poisoned.set()
    store._image.copy_from = _fail  # type: ignore[method-assign]
    with store.pinned():
        for n in (1, 2):
            store.write(n * 4096, bytes([n]) * 512)
            end_epoch(bed, store, n, commit=n == 1)
    assert poisoned.wait(10)
    with pytest.raises(StorePoisoned):
        store.commit(2)
    with pytest.raises(StorePoisoned):
        store.finish()
    bed.close()
    store = bed.open(anew=False)
    store.commit(2)
    assert store.finish() == 2
    assert bed.octets()[8192 : 8192 + 512] == b"\2" * 512


def test_a_sync_that_takes_long_delays_no_epoch(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SYNC_S", 0.05)
    syncs, goes_on = threading.Event(), threading.Event()

    def hang() -> None:
        syncs.set()
        assert goes_on.wait(60)

    store = begin(bed)
    monkeypatch.setattr(store._image, "sync", hang)
    store.write(0, b"x" * 512)
    end_epoch(bed, store, 1)
    assert syncs.wait(10)
    for n in range(2, 5):
        store.write(n * 4096, bytes([n]) * 4096)
        end_epoch(bed, store, n)
        assert store.read_committed(0, 4096)[:512] == b"x" * 512
    assert store.progress.applied == 0, "no sync has vouched for more"
    goes_on.set()
    assert store.finish() == 4


def _fail(*_: object) -> None:
    raise OSError(5, "Input/output error")


def test_a_writer_never_waits_for_an_apply(bed: Bed) -> None:
    """With the applier held back, writes, closes and commits go on."""
    store = begin(bed)
    with store.pinned():
        for n in range(1, 5):
            store.write(n * 4096, bytes([n]) * 4096)
            end_epoch(bed, store, n)
        assert bed.octets()[4096:] == bytes(SIZE - 4096)
    assert store.finish() == 4
