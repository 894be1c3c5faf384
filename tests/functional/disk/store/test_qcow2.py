"""A store whose image is qcow2: the same promises, through a qemu-nbd of its own."""

import fcntl
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk import plugin
from remus_ha.disk.store import recover
from remus_ha.disk.store.launch import StoreRefused
from remus_ha.disk.store.users import user_of
from remus_ha.waiting import readable
from tests.functional.disk.machine import layered
from tests.functional.disk.store.test_nbd import SIZE, Client, Store

CLUSTER = 64 << 10
OPEN_AND_UNLOCK = """
import os, sys
from pathlib import Path
from remus_ha.disk.store.qcow2 import Qcow2Image
image = Qcow2Image.open(Path(sys.argv[1]), durable=False)
os.close(image._lock)
print(image._lock, flush=True)
sys.stdin.read()
"""
INCOMPATIBLE = 72  # where the header has its incompatible features, big-endian


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, format="qcow2")
    yield made
    made.end()


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    made = Client.of(store.nbd)
    yield made
    made.kill()


def qemu_img(*words: object) -> str:
    command = ["qemu-img", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


def octets(image: Path) -> bytes:
    """The disk in a qcow2 image, as anybody finds it who opens it now; it has to be sound."""
    qemu_img("check", "-q", "-f", "qcow2", image)
    raw = image.with_suffix(".raw")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", image, raw)
    return raw.read_bytes()


def qemu_nbd(store: int) -> int:
    """The process that a store's process has started."""
    children = Path(f"/proc/{store}/task/{store}/children").read_text().split()
    (pid,) = [int(pid) for pid in children if "nbd" in Path(f"/proc/{pid}/comm").read_text()]
    return pid


def commit(store: Store, n: int) -> None:
    store.end_epoch(n)
    store.order("commit", n)
    store.said("committed")


def applied(store: Store) -> int:
    store.order("status")
    return int(store.said("status")["applied"])


def kill(store: Store) -> None:
    """When it returns, the qemu-nbd that dies with the store has let go of the image, too."""
    children = Path(f"/proc/{store.pid}/task/{store.pid}/children").read_text().split()
    ends = [os.pidfd_open(int(pid)) for pid in (store.pid, *children)]
    store.end()
    for end in ends:
        assert readable(end, 10)
        os.close(end)


def take_up(store: Store, n: int) -> int:
    return recover.outcome("xvda", recover.begin(store.directory / "setup.json", n))


def test_epochs_in_a_qcow2_image(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    commit(store, 0)
    assert "wrote" in client.write(0, 512, 2)
    assert "wrote" in client.do("write -z 1024 1024", "wrote")
    assert "discard" in client.do("discard 2048 1024", "discard")
    commit(store, 1)
    assert "wrote" in client.write(512, 512, 3)
    store.order("finish")
    assert store.said("finished")["n"] == 1
    store.order("quit")
    store.said("gone")
    assert user_of(store.image) == "", "the image is not closed"
    want = b"\2" * 512 + b"\1" * 512 + bytes(2048) + b"\1" * 1024
    assert octets(store.image)[:4096] == want


def test_the_image_stands_alone_and_has_its_space(store: Store, client: Client) -> None:
    """Also after zeroes and a discard of all of it."""
    for command in (f"write -P 7 0 {SIZE}", f"write -z 0 {SIZE}", f"discard 0 {SIZE}"):
        assert "ops" not in client.do(command, str(SIZE))
    commit(store, 0)
    kill(store)
    assert take_up(store, 0) == 0
    found = json.loads(qemu_img("info", "--output=json", store.image))
    assert (found["format"], found["virtual-size"]) == ("qcow2", SIZE)
    assert "backing-filename" not in found
    assert found["actual-size"] >= SIZE
    assert octets(store.image) == bytes(SIZE)


def test_a_killed_store_is_taken_up(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    commit(store, 0)
    assert "wrote" in client.write(0, 512, 2)
    commit(store, 1)
    assert "wrote" in client.write(0, 512, 3)
    store.end_epoch(2)  # the receiver had begun to commit it
    assert "wrote" in client.write(0, 512, 4)
    store.end()  # at once: whatever lived in the store or beside it is in the way now
    assert take_up(store, 2) == 2
    assert user_of(store.image) == ""
    assert octets(store.image)[:1024] == b"\3" * 512 + b"\1" * 512


def test_qemu_nbd_does_not_outlive_its_store(store: Store) -> None:
    end = os.pidfd_open(qemu_nbd(store.pid))
    store.end()
    assert readable(end, 10)
    os.close(end)


def test_qemu_nbd_holds_the_images_lock_as_well(store: Store) -> None:
    """However few descriptors its parent has: one that takes up a dead store has the lock at 3,

    where qemu-nbd finds its listening socket.
    """
    kill(store)
    command = ["python3", "-c", OPEN_AND_UNLOCK, str(store.image)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=plugin.environment()
    ) as opener:
        assert opener.stdout
        assert opener.stdout.readline() == b"3\n"
        with store.image.open("rb") as image, pytest.raises(BlockingIOError):
            fcntl.flock(image, fcntl.LOCK_EX | fcntl.LOCK_NB)
        opener.kill()


def test_what_counts_as_applied_outlives_a_kill(store: Store, client: Client) -> None:
    """Nothing of it is only in the memory of qemu-nbd, which keeps the image's tables there."""
    rng, expected = random.Random(11), bytearray(SIZE)
    for n in range(12):
        for _ in range(8):
            offset = CLUSTER * rng.randrange(SIZE // CLUSTER)
            octet = rng.choice((0, n + 1))
            command = "write -z" if octet == 0 else f"write -P {octet}"
            assert "wrote" in client.do(f"{command} {offset} {CLUSTER}", "wrote")
            expected[offset : offset + CLUSTER] = bytes([octet]) * CLUSTER
        commit(store, n)
    assert any(applied(store) == 11 for _ in range(100_000))
    kill(store)
    assert take_up(store, -1) == 11
    assert octets(store.image) == bytes(expected)


def test_a_qemu_nbd_that_dies_poisons_the_store(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    commit(store, 0)
    os.kill(qemu_nbd(store.pid), signal.SIGKILL)
    assert "wrote" in client.write(0, 4096, 2)
    store.end_epoch(1)
    store.order("commit", 1)
    assert store.said("failed")["error"]["code"] == "DISK-009"
    kill(store)
    assert take_up(store, 1) == 1
    assert octets(store.image)[:1] == b"\2"


def test_an_image_in_use_is_refused(store: Store, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    os.link(store.image, second / "disk.img")
    with pytest.raises(StoreRefused, match="DISK-003"):
        Store(second, format="qcow2")


def test_an_image_that_lies_upon_another_is_kept_unless_it_may_be_lost(tmp_path: Path) -> None:
    base = tmp_path / "base.img"
    base.write_bytes(b"b" * SIZE)
    image = layered(tmp_path / "disk.img", base)
    before = image.read_bytes()
    with pytest.raises(StoreRefused, match="DISK-042"):
        Store(tmp_path, format="qcow2")
    assert image.read_bytes() == before
    (tmp_path / "nbd.sock").unlink()
    store = Store(tmp_path, format="qcow2", overwrite=True)
    kill(store)
    assert octets(image) == bytes(SIZE)
    assert base.read_bytes() == b"b" * SIZE
    assert not list(tmp_path.glob(".*.making"))


def test_a_durable_store(tmp_path: Path) -> None:
    store = Store(tmp_path, format="qcow2", ack="durable")
    client = Client.of(store.nbd)
    assert "wrote" in client.write(0, 4096, 1)
    commit(store, 0)
    client.kill()
    store.order("finish")
    assert store.said("finished")["n"] == 0
    store.order("quit")
    store.said("gone")
    assert octets(store.image)[:4096] == b"\1" * 4096


def test_an_image_that_qemu_nbd_refuses_says_why(tmp_path: Path) -> None:
    """One that is marked as corrupt can be looked at, but not be written to."""
    image = tmp_path / "disk.img"
    qemu_img("create", "-q", "-f", "qcow2", image, SIZE)
    with image.open("r+b") as f:
        f.seek(INCOMPATIBLE + 7)
        f.write(b"\2")
    with pytest.raises(StoreRefused, match=r"DISK-043.*corrupt"):
        Store(tmp_path, format="qcow2")
    assert user_of(image) == ""
