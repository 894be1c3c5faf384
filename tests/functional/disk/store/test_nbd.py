"""A store behind nbdkit, written to by QEMU's own NBD client, ordered about by its socket."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remus_ha.disk.orders import attend
from remus_ha.disk.store import launch
from remus_ha.disk.store.launch import Setup, StoreRefused
from remus_ha.waiting import readable

SIZE = 4 << 20


class Store:
    """A store's process and a receiver's connection to it."""

    def __init__(self, directory: Path, *, known: bool = True, **more: Any) -> None:
        """``more``: of its setup."""
        self.directory, self.nbd = directory, directory / "nbd.sock"
        self.image = directory / "disk.img"
        setup: dict[str, Any] = {
            "disk": "xvda",
            "path": str(self.image),
            "size": SIZE,
            "known": known,
            "directory": str(directory / "journal"),
            "socket": str(directory / "store.sock"),
            "ack": "received",
            "limit": 1 << 30,
        }
        self.setup = Setup(**{**setup, **more})
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.nbd))
            listener.listen()
            self.pid = launch.start(
                self.setup, directory / "setup.json", listener, directory / "log"
            )
        self.connect()

    def connect(self) -> None:
        self.socket = attend(Path(self.setup.socket))
        self.socket.settimeout(20)
        self.lines = self.socket.makefile("rb")

    def order(self, verb: str, n: int = -1) -> None:
        self.socket.sendall(json.dumps({"do": verb, "n": n}).encode() + b"\n")

    def said(self, *words: str) -> dict[str, Any]:
        """The next thing said that is one of ``words``."""
        while True:
            line = self.lines.readline()
            assert line, f"the store went away before it said {words}"
            told: dict[str, Any] = json.loads(line)
            if told["said"] in words:
                return told

    def end_epoch(self, n: int) -> None:
        """Which of the two is said first is open."""
        self.order("close", n)
        told = [self.said("closed", "prepared") for _ in range(2)]
        assert sorted((t["said"], t["n"]) for t in told) == [("closed", n), ("prepared", n)]

    def end(self) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class Client:
    """QEMU's NBD client, one connection, commands as qemu-io takes them."""

    def __init__(self, *where: str) -> None:
        """``where``: options of qemu-io that name the export."""
        self.process = subprocess.Popen(
            ["qemu-io", *where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @classmethod
    def of(cls, nbd: Path) -> "Client":
        return cls("-f", "raw", f"nbd+unix:///?socket={nbd}")

    def do(self, command: str, answer: str) -> str:
        """Give a command; the line that holds ``answer``."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            assert line, "qemu-io has ended"
            if answer in line or "failed" in line:
                return line

    def write(self, offset: int, length: int, pattern: int) -> str:
        return self.do(f"write -P {pattern} {offset} {length}", "wrote")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.end()


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    made = Client.of(store.nbd)
    yield made
    made.kill()


def test_epochs_over_nbd(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    store.end_epoch(0)
    store.order("commit", 0)
    store.said("committed")
    assert "wrote" in client.write(0, 512, 2)
    assert "wrote" in client.do("write -z 1024 1024", "wrote")
    assert "discard" in client.do("discard 2048 1024", "discard")
    store.end_epoch(1)
    store.order("commit", 1)
    store.said("committed")
    assert "wrote" in client.write(512, 512, 3)
    store.order("finish")
    assert store.said("finished")["n"] == 1
    want = b"\2" * 512 + b"\1" * 512 + bytes(2048) + b"\1" * 1024
    assert store.image.read_bytes()[:4096] == want


def test_a_lost_connection_is_told_and_closes_no_epoch(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    client.kill()
    store.said("severed")
    store.order("close", 0)
    told = store.said("failed")
    assert told["error"]["code"] == "DISK-010"


def test_an_epoch_that_outgrows_the_journal_is_told_at_once(tmp_path: Path) -> None:
    """The receiver need not wait until the primary has given its connection up."""
    store = Store(tmp_path, limit=64 << 10)
    client = Client.of(store.nbd)
    try:
        assert "wrote" in client.write(0, 4096, 1)
        store.end_epoch(0)
        store.order("commit", 0)
        store.said("committed")
        assert "wrote" in client.write(0, 128 << 10, 2)
        assert "failed" in client.write(0, 512, 3)
        error = store.said("severed")["error"]
        assert error["code"] == "DISK-171"
        assert "of xvda has outgrown the journal of 65536 octets" in error["cause"]
        store.order("finish")
        assert store.said("finished")["n"] == 0
        assert store.image.read_bytes()[:512] == b"\1" * 512
    finally:
        client.kill()
        store.end()


def test_a_journal_that_takes_no_write_is_told(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    store.end_epoch(0)
    Path(store.setup.directory).rename(store.directory / "away")
    assert "failed" in client.write(0, 512, 2)
    error = store.said("severed")["error"]
    assert error["code"] == "DISK-174"
    assert "epoch 1 of xvda cannot be written down" in error["cause"]
    assert "No such file or directory" in error["cause"]


def test_a_journal_that_cannot_be_begun_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(StoreRefused, match=r"DISK-177.*File exists"):
        Store(tmp_path)


def test_after_a_cut_writes_fail(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    store.end_epoch(0)
    store.order("cut")
    store.said("cut")
    assert "failed" in client.write(0, 4096, 2)


def test_a_new_receiver_finds_the_store_as_it_was(store: Store, client: Client) -> None:
    assert "wrote" in client.write(0, 4096, 1)
    store.end_epoch(0)
    store.socket.close()
    store.connect()
    store.order("commit", 0)
    assert store.said("committed")["n"] == 0
    store.order("status")
    status = store.said("status")
    assert status["committed"] == 0
    assert status["size"] == SIZE


def test_quit_ends_the_process(store: Store) -> None:
    end = os.pidfd_open(store.pid)
    store.order("quit")
    assert readable(end, 10), "the store did not end"
    os.close(end)


def test_a_foreign_image_is_refused_and_left_alone(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(b"precious" * (SIZE // 8))
    with pytest.raises(StoreRefused, match="DISK-006"):
        Store(tmp_path, known=False)
    assert image.read_bytes()[:8] == b"precious"


def test_an_image_in_use_is_refused(store: Store, tmp_path: Path) -> None:
    second = tmp_path / "second"
    second.mkdir()
    os.link(store.image, second / "disk.img")
    with pytest.raises(StoreRefused, match="DISK-003"):
        Store(second)


def test_a_store_outlives_who_started_it(tmp_path: Path) -> None:
    """nbdkit 1.32 asks the kernel to be ended with its starter, also where nobody wanted that."""
    child = os.fork()
    if child == 0:
        store = Store(tmp_path)
        (tmp_path / "pid").write_text(str(store.pid))
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    end = os.pidfd_open(int((tmp_path / "pid").read_text()))
    assert not readable(end, 0.3)
    signal.pidfd_send_signal(end, signal.SIGKILL)
    os.close(end)
