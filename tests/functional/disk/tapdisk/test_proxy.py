"""The block server of a running disk: a real one, with a real store behind it.

What a guest's back-end would ask of it is asked over its local socket.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha.disk import tls
from remus_ha.disk.tapdisk import launch
from remus_ha.disk.tapdisk.errors import ServerRefused
from remus_ha.disk.tapdisk.launch import Setup
from remus_ha.waiting import readable
from tests.functional.disk.machine import DEADLINE_S, SIZE, Backup, Orders
from tests.functional.disk.writers import BLOCK, Nbd, Writers, block, number_in

LIMIT = 8 << 20
PLACES = 300
MIB = 1 << 20


class Proxy:
    """A block server's process and its driver's connection to it."""

    def __init__(self, directory: Path, backup: Backup | None, **more: object) -> None:
        self.image, self.nbd = directory / "primary.img", directory / "proxy.nbd"
        if not self.image.exists():
            self.image.write_bytes(os.urandom(SIZE))
        setup = Setup(
            disk="xvda",
            path=str(self.image),
            size=SIZE,
            direct=False,
            orders=str(directory / "orders"),
            address="127.0.0.1",
            port=backup.port if backup else 1,
            tls=str(backup.tls) if backup else "",
            limit=LIMIT,
        )
        self.setup = replace(setup, **more)  # type: ignore[arg-type]
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.nbd))
            listener.listen()
            starting = launch.begin(self.setup, directory / "json", listener, directory / "plog")
            self.pid = starting.wait()
            self.process = starting.process
        self.orders = Orders(self.setup.orders)

    def sync(self) -> None:
        self.orders.order("sync")
        self.orders.said("synced")

    def mark(self, n: int) -> None:
        self.orders.order("mark", n)
        assert self.orders.said("marked")["n"] == n

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Backup]:
    made = Backup(tmp_path)
    yield made
    made.end()


@pytest.fixture
def proxy(tmp_path: Path, backup: Backup) -> Iterator[Proxy]:
    made = Proxy(tmp_path, backup)
    yield made
    made.end()


@pytest.fixture
def store(backup: Backup) -> Orders:
    return Orders(backup.setup.socket)


def close_epoch(proxy: Proxy, store: Orders, n: int) -> None:
    """What the epoch loop and the backup do between them, once the guest is marked."""
    assert proxy.orders.said("reached")["n"] == n
    store.order("close", n)
    assert store.said("closed")["n"] == n
    assert store.said("prepared")["n"] == n
    store.order("commit", n)
    assert store.said("committed")["n"] == n
    proxy.orders.order("closed", n)


def finish(store: Orders) -> None:
    """The image holds what was committed, and nothing else."""
    store.order("finish")
    store.said("finished")


def test_unprotected_it_is_the_image_here(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, None)
    client = Nbd(proxy.nbd)
    assert client.size == SIZE
    before = proxy.image.read_bytes()
    assert client.read(12288, 8192) == before[12288:20480]
    client.write(0, block(7))
    client.zero(4096, 4096)
    client.trim(8192, 4096)
    client.flush()
    want = block(7) + bytes(8192)
    assert client.read(0, 12288) == want
    assert proxy.image.read_bytes() == want + before[12288:]
    assert proxy.orders.status()["role"] == "fresh"
    proxy.end()


def test_a_mark_on_a_disk_that_is_not_replicated_is_refused(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, None)
    proxy.orders.order("mark", 0)
    assert proxy.orders.said("failed")["error"]["code"] == "DISK-134"
    proxy.end()


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "primary.img").write_bytes(bytes(4096))
    with pytest.raises(ServerRefused, match="DISK-136"):
        Proxy(tmp_path, None)


def test_a_store_that_cannot_be_reached_holds_no_write_up(tmp_path: Path, backup: Backup) -> None:
    """Its port takes connections, as one behind a firewall may, and nobody is there."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy = Proxy(tmp_path, backup, port=nobody.getsockname()[1])
        proxy.orders.order("sync")
        client = Nbd(proxy.nbd)
        for n in range(3 * LIMIT // MIB):
            client.write(n * MIB, bytes(MIB))
        assert proxy.orders.status()["role"] == "primary"
        proxy.end()


def test_a_network_that_takes_nothing_is_lost_within_the_patience(
    tmp_path: Path, backup: Backup
) -> None:
    """Long before the kernel would give the connection up; the write that waits goes on."""
    proxy = Proxy(tmp_path, backup, patience_ms=1000)
    proxy.sync()
    backup.stop()
    client = Nbd(proxy.nbd)
    began = time.monotonic()
    for n in range(SIZE // MIB):
        client.write(n * MIB, bytes(MIB))
    assert proxy.orders.said("lost")
    assert 0.5 < time.monotonic() - began < 8
    proxy.end()


def test_the_copy_of_a_disk_that_is_being_written_is_identical(
    proxy: Proxy, store: Orders, backup: Backup
) -> None:
    writers = Writers(proxy.nbd, blocks=SIZE // BLOCK)
    writers.wait(50)
    proxy.sync()
    writers.wait(50)
    writers.stop()
    proxy.mark(0)
    close_epoch(proxy, store, 0)
    finish(store)
    writers.check(proxy.image)
    assert backup.image.read_bytes() == proxy.image.read_bytes()


def test_the_copy_says_how_far_it_is(backup: Backup, tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, backup, rate=16 << 20)
    proxy.orders.order("sync")
    told = [proxy.orders.said("progress") for _ in range(3)]
    assert 0 < told[0]["done"] < told[1]["done"] < told[2]["done"] < SIZE
    proxy.end()


def test_an_interrupted_copy_is_resumed(tmp_path: Path) -> None:
    first = Backup(tmp_path)
    proxy = Proxy(tmp_path, first, rate=16 << 20)
    proxy.orders.order("sync")
    while proxy.orders.said("progress")["sent"] < SIZE // 2:
        pass
    first.end()
    proxy.orders.said("lost")
    proxy.end()
    proxy.nbd.unlink()
    second = Backup(tmp_path, image=first.image.read_bytes())
    again = Proxy(tmp_path, second)
    try:
        again.sync()
        # what was put into the backlog last had not all been taken
        assert 0 < again.orders.status()["sent_octets"] < SIZE // 2 + LIMIT // 2
        assert second.image.read_bytes() == again.image.read_bytes()
    finally:
        again.end()
        second.end()


def test_what_is_written_after_the_mark_is_not_in_the_epoch(
    proxy: Proxy, store: Orders, backup: Backup
) -> None:
    proxy.sync()
    client = Nbd(proxy.nbd)
    proxy.mark(0)
    close_epoch(proxy, store, 0)
    client.write(0, block(1) * 2)
    proxy.mark(1)
    client.write(0, block(2))
    client.zero(4096, 512)
    client.write(8192, block(2))
    proxy.orders.said("reached")
    assert proxy.orders.is_silent(0.3)
    assert proxy.orders.status()["waiting"] == 3
    assert "reached" not in str(store.status())
    store.order("close", 1)
    store.said("prepared")
    proxy.orders.order("closed", 1)
    proxy.mark(2)
    assert proxy.orders.said("reached")["n"] == 2  # what was behind mark 1 has arrived
    store.order("commit", 0)
    store.order("commit", 1)
    store.said("committed")
    finish(store)
    assert backup.image.read_bytes()[:8192] == block(1) * 2
    assert proxy.image.read_bytes()[:4608] == block(2) + bytes(512)


def test_epochs_under_load_hold_what_was_complete_and_nothing_later(
    proxy: Proxy, store: Orders, backup: Backup
) -> None:
    blocks = 512
    writers = Writers(proxy.nbd, blocks=blocks)
    proxy.sync()
    for n in range(8):
        writers.wait(100)
        done = list(writers.done)
        proxy.mark(n)
        begun = list(writers.begun)
        writers.wait(20)  # behind the mark
        close_epoch(proxy, store, n)
    writers.wait(50)
    finish(store)
    writers.stop()
    image = backup.image.read_bytes()
    checked = 0
    for place in range(blocks):
        if done[place] > 0:
            number = number_in(image, place)
            zeroed = number == 0 and begun[place] > done[place]
            assert zeroed or done[place] <= number <= begun[place], f"block {place}"
            checked += 1
    assert checked > 100
    assert begun != writers.begun  # something was written later


def test_writes_to_one_place_reach_both_sides_in_one_order(
    proxy: Proxy, store: Orders, backup: Backup
) -> None:
    proxy.sync()
    proxy.mark(0)
    close_epoch(proxy, store, 0)

    def overwrite(number: int) -> None:
        """All threads are at about the same place at a time, and overlap in parts."""
        client = Nbd(proxy.nbd)
        for place in range(PLACES):
            client.write(place * 65536 + number * 512, bytes([number]) * 61440)
        client.close()

    threads = [threading.Thread(target=overwrite, args=(i,)) for i in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proxy.mark(1)
    close_epoch(proxy, store, 1)
    finish(store)
    assert backup.image.read_bytes() == proxy.image.read_bytes()


def test_a_store_that_hangs_costs_nothing_until_the_queue_is_full(
    proxy: Proxy, backup: Backup
) -> None:
    proxy.sync()
    backup.stop()
    client = Nbd(proxy.nbd)
    chunk = 256 << 10
    for i in range(LIMIT // 2 // chunk):
        client.write(i * chunk, bytes(chunk))
    assert proxy.orders.status()["held_octets"] >= LIMIT // 2
    ended = threading.Event()

    def fill() -> None:
        for i in range(LIMIT // chunk):
            client.write(i * chunk, bytes([1]) * chunk)
        ended.set()

    threading.Thread(target=fill).start()
    assert not ended.wait(0.7), "nothing bounds the queue"
    assert proxy.orders.status()["held_octets"] <= LIMIT + chunk + 1024
    proxy.orders.order("free")
    proxy.orders.said("freed")
    assert ended.wait(5), "a blocked write was not let go"
    assert client.read(0, 4096) == b"\1" * 4096
    assert proxy.orders.status()["role"] == "unprotected"


def test_a_store_that_dies_is_told_and_the_guest_goes_on(proxy: Proxy, backup: Backup) -> None:
    writers = Writers(proxy.nbd)
    proxy.sync()
    backup.signal(signal.SIGKILL)
    assert proxy.orders.said("lost")["reason"]
    writers.wait(100)
    writers.stop()
    writers.check(proxy.image)
    proxy.orders.order("mark", 0)
    assert proxy.orders.said("failed")["do"] == "mark"


def test_a_store_that_refuses_a_write_is_a_loss(
    proxy: Proxy, store: Orders, backup: Backup
) -> None:
    proxy.sync()
    store.order("cut")
    store.said("cut")
    client = Nbd(proxy.nbd)
    client.write(0, block(1))
    assert proxy.orders.said("lost")["reason"]
    client.write(0, block(2))
    assert proxy.image.read_bytes()[:4096] == block(2)


def test_no_store_at_all_is_a_loss(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, None)
    proxy.orders.order("sync")
    assert "refused" in proxy.orders.said("lost")["reason"]
    Nbd(proxy.nbd).write(0, block(1))
    proxy.end()


def test_a_store_that_does_not_know_the_key_gets_nothing(tmp_path: Path, backup: Backup) -> None:
    before = backup.image.read_bytes()
    stranger = tls.save(tls.create(), tmp_path / "stranger")
    proxy = Proxy(tmp_path, backup, tls=str(stranger))
    proxy.orders.order("sync")
    assert "tls" in proxy.orders.said("lost")["reason"]
    assert backup.image.read_bytes() == before
    proxy.end()


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Backup]:
    (tmp_path / "open").mkdir()
    made = Backup(tmp_path / "open", secure=False)
    yield made
    made.end()


def test_nothing_is_sent_in_the_clear(tmp_path: Path, backup: Backup, open_store: Backup) -> None:
    """The key is not optional: a store that offers no TLS is refused."""
    proxy = Proxy(tmp_path, backup, port=open_store.port)
    proxy.orders.order("sync")
    assert "TLS" in proxy.orders.said("lost")["reason"]
    assert Orders(open_store.setup.socket).status()["synced_octets"] == 0
    proxy.end()


def test_a_dead_driver_lets_the_guest_go(proxy: Proxy, backup: Backup) -> None:
    """A session without its driver is over: nobody would ever free the guest's writes.

    Somebody who asks how it is does not stand in for it.
    """
    asker = Orders(proxy.setup.orders, owns=False)
    proxy.sync()
    assert asker.status()["attended"]
    backup.stop()
    client = Nbd(proxy.nbd)
    ended = threading.Event()

    def fill() -> None:
        for _ in range(2 * LIMIT >> 20):
            client.write(0, bytes(1 << 20))
        ended.set()

    threading.Thread(target=fill).start()
    assert not ended.wait(0.7)
    proxy.orders.close()
    assert ended.wait(5)
    told = asker.status()
    assert (told["role"], told["attended"]) == ("unprotected", False)


def test_a_server_that_nobody_needs_ends(proxy: Proxy) -> None:
    client = Nbd(proxy.nbd)
    asker = Orders(proxy.setup.orders, owns=False)
    assert proxy.orders.status()["attended"]
    asker.status()
    proxy.orders.close()
    client.write(0, block(1))
    end = os.pidfd_open(proxy.pid)
    assert not readable(end, 0.3), "it left its QEMU alone"
    client.close()
    assert readable(end, DEADLINE_S)
    os.close(end)
    assert proxy.image.read_bytes()[:4096] == block(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_signal_makes_it_answer_with_errors(proxy: Proxy, number: signal.Signals) -> None:
    """nbdkit takes them as a wish to end, and fails what is asked of it from then on."""
    writers = Writers(proxy.nbd)
    writers.wait(20)
    os.kill(proxy.pid, number)
    writers.wait(50)
    writers.stop()
    writers.check(proxy.image)


def test_quit_ends_it_at_once(proxy: Proxy) -> None:
    client = Nbd(proxy.nbd)
    proxy.orders.order("quit")
    proxy.orders.said("gone")
    assert proxy.process.wait(DEADLINE_S) == 0
    client.close()


def test_zeroes_and_trims_read_alike_on_both_sides(
    proxy: Proxy, store: Orders, backup: Backup
) -> None:
    proxy.sync()
    client = Nbd(proxy.nbd)
    client.zero(0, 1 << 20)
    client.trim(2 << 20, 1 << 20)
    client.write(2 << 20, block(9))
    proxy.mark(0)
    close_epoch(proxy, store, 0)
    finish(store)
    here = proxy.image.read_bytes()
    assert here[: 1 << 20] == bytes(1 << 20)
    assert here[(2 << 20) + 4096 : 3 << 20] == bytes((1 << 20) - 4096)
    assert backup.image.read_bytes() == here
