"""The image of a store that is dying: it waits for what the store is still writing."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.disk.errors import TargetInUse
from remus_ha.disk.store import image, users
from remus_ha.waiting import readable
from tests.functional.disk.store.test_nbd import SIZE, Client, Store

pytestmark = pytest.mark.root
FOR_EVER_S = 3600.0
WRITE = """
import fcntl, os, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
words = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", "echo; exec sleep 600"]
child = subprocess.Popen(words, stdin=fd, stdout=subprocess.PIPE)
child.stdout.readline()
print("at it", flush=True)
os.write(fd, b"x")
"""


class Disk:
    """A file system of its own, on which every write can be held up."""

    def __init__(self, directory: Path) -> None:
        self.mount, below = directory / "mount", directory / "below"
        self.mount.mkdir()
        with below.open("wb") as f:
            f.truncate(32 << 20)
        run("mkfs.ext4", "-q", "-J", "size=4", below)
        run("mount", "-o", "loop", below, self.mount)
        self.held = False

    def hold(self) -> None:
        run("fsfreeze", "--freeze", self.mount)
        self.held = True

    def let_go(self) -> None:
        self.held = False
        run("fsfreeze", "--unfreeze", self.mount)

    def end(self) -> None:
        if self.held:
            self.let_go()


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, timeout=20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path)
    yield made
    made.end()
    run("umount", made.mount)


@pytest.fixture
def writing(disk: Disk) -> Iterator[Store]:
    """A store that is at a write."""
    store = Store(disk.mount)
    client = Client.of(store.nbd)
    disk.hold()
    assert client.process.stdin
    client.process.stdin.write(f"write 0 {SIZE}\n")
    client.process.stdin.flush()
    wait_for_its_write(store.pid)
    yield store
    end = os.pidfd_open(store.pid)
    store.end()
    disk.end()
    assert readable(end, 20)
    os.close(end)
    client.kill()
    store.socket.close()


def wait_for_its_write(pid: int) -> None:
    while not any(at_a_write(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        pass


def at_a_write(thread: Path) -> bool:
    """It sleeps, and no signal ends that."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "D"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_DYING_S", FOR_EVER_S)


def test_a_killed_store_is_waited_for(writing: Store, disk: Disk) -> None:
    """As by a protection that begins right behind the end of another."""
    writing.end()
    assert users.user_of(writing.image).endswith("nbdkit")
    threading.Timer(0.5, disk.let_go).start()
    image.Image.take(writing.image, SIZE, known=True).close()
    assert not disk.held


def test_so_are_a_process_whose_only_thread_writes_and_one_that_dies_with_it(disk: Disk) -> None:
    """Nothing of either has ended yet."""
    path = disk.mount / "disk.img"
    path.write_bytes(bytes(SIZE))
    disk.hold()
    command = [sys.executable, "-c", WRITE, path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"at it\n"
        wait_for_its_write(process.pid)
        process.kill()
        threading.Timer(0.5, disk.let_go).start()
        os.close(image.open_alone(path))
    assert not disk.held


def test_a_store_that_lives_is_refused_at_once(writing: Store) -> None:
    with pytest.raises(TargetInUse):
        image.check(writing.image, SIZE, known=True)
    with pytest.raises(TargetInUse):
        image.Image.open(writing.image)
