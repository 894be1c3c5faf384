"""What a disk's daemon refuses, and what strangers cannot do to it."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from remus_ha.cmd import tapdisk
from remus_ha.disk.tapdisk.classic import launch
from remus_ha.disk.tapdisk.classic.attendance import Attendance
from remus_ha.disk.tapdisk.classic.setup import Setup
from remus_ha.disk.tapdisk.errors import DaemonFinishing
from tests.functional.disk.machine import DEADLINE_S
from tests.functional.disk.writers import BLOCK, block

from .daemons import ADDRESS, BACKUP, PORT, SIZE, Daemon, Hosts, Pair, digest, standing_still
from .peers import ended

pytestmark = pytest.mark.root


def refused(daemon: Daemon, code: str) -> None:
    daemon.end()  # where it was not refused
    said = "\n".join(daemon.said)
    assert daemon.process.returncode == 1, said
    assert f": {code}: " in said, said
    assert daemon.said[-1].startswith("  "), said


def test_no_backup(hosts: Hosts, pair: Pair, tmp_path: Path) -> None:
    refused(Daemon(hosts, "primary", tmp_path / "primary"), "DISK-105")


def test_a_disk_has_one_daemon(hosts: Hosts, pair: Pair, tmp_path: Path) -> None:
    """The one that lives keeps its sockets and its FIFOs."""
    backup = pair.start("backup")
    refused(Daemon(hosts, "backup", tmp_path / "backup"), "DISK-152")
    assert len(backup.content()) == SIZE
    primary = pair.start("primary")
    refused(Daemon(hosts, "primary", tmp_path / "primary"), "DISK-152")
    primary.controller().flush(DEADLINE_S)


def test_an_address_that_is_taken(hosts: Hosts, pair: Pair, tmp_path: Path) -> None:
    pair.start("backup")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "disk.img").write_bytes(bytes(SIZE))
    refused(Daemon(hosts, "backup", tmp_path / "other"), "DISK-113")


def test_an_image_that_is_used(hosts: Hosts, pair: Pair, tmp_path: Path) -> None:
    backup = pair.start("backup")
    (tmp_path / "other").mkdir()
    os.link(backup.image, tmp_path / "other" / "disk.img")
    again = Daemon(hosts, "backup", tmp_path / "other", address=f"{BACKUP}:9001")
    refused(again, "DISK-150")


@pytest.mark.parametrize("size", [None, 0, 1000])
def test_an_image_that_is_no_disk(hosts: Hosts, tmp_path: Path, size: int | None) -> None:
    (tmp_path / "one").mkdir()
    if size is not None:
        (tmp_path / "one" / "disk.img").write_bytes(bytes(size))
    refused(Daemon(hosts, "backup", tmp_path / "one"), "DISK-136")


def test_a_name_that_is_none(hosts: Hosts, tmp_path: Path) -> None:
    refused(Daemon(hosts, "backup", tmp_path / "one", address="nowhere"), "DISK-115")


def test_a_second_primary_gets_nothing_and_disturbs_nobody(
    hosts: Hosts, pair: Pair, tmp_path: Path
) -> None:
    primary, backup = pair.begin()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "disk.img").write_bytes(bytes(SIZE))
    second = Daemon(hosts, "primary", tmp_path / "second")
    refused(second, "DISK-105")
    assert "reset" in second.said[0]
    primary.client().write(4096, block(1))
    primary.controller().flush(DEADLINE_S)
    assert digest(backup.content()) == digest(primary.image.read_bytes())


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"wreq" + b"\xff" * 12, b"wreq" + bytes(6), b""]
)
def test_garbage_changes_nothing_and_ends_it(hosts: Hosts, pair: Pair, octets: bytes) -> None:
    """Whoever comes first is taken for the primary, as ever; what he breaks is the protection."""
    backup = pair.start("backup")
    before = backup.image.read_bytes()
    with hosts.entered("primary"):
        stranger = socket.create_connection((BACKUP, PORT), DEADLINE_S)
    stranger.sendall(octets)
    stranger.shutdown(socket.SHUT_WR)
    backup.hear("UNPROTECTED from now on, at epoch 0")
    assert ended(stranger)
    stranger.close()
    assert digest(backup.content()) == digest(before)
    with hosts.entered("primary"), pytest.raises(ConnectionRefusedError):
        socket.create_connection((BACKUP, PORT), DEADLINE_S)


def test_a_backup_that_answers_what_nobody_asked(hosts: Hosts, pair: Pair, tmp_path: Path) -> None:
    with hosts.entered("backup"):
        listener = socket.create_server((BACKUP, PORT))
    primary = pair.start("primary")
    other, _ = listener.accept()
    other.sendall(b"done")
    assert "nobody asked for" in primary.hear("UNPROTECTED")
    primary.client().write(0, block(1))
    assert primary.image.read_bytes()[:BLOCK] == block(1)
    listener.close()
    other.close()


def test_stopping_what_does_not_run(hosts: Hosts, pair: Pair) -> None:
    backup = pair.start("backup")
    assert backup.stop() == 0
    done = subprocess.run(backup.command("--stop"), capture_output=True, text=True)
    assert done.returncode == 1
    assert f"DISK-153: no daemon serves the disk at {ADDRESS}" in done.stderr


def test_a_daemon_that_takes_long_to_end_is_not_taken_for_none(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it was told it does, once it can."""
    monkeypatch.setattr(launch, "END_S", 0.2)
    backup = pair.start("backup")
    with standing_still(backup), pytest.raises(DaemonFinishing, match=r"within 0\.2 s"):
        launch.end(backup.files)
    assert backup.process.wait(DEADLINE_S) == 0


def test_who_started_a_daemon_stays_until_it_has_ended(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: whoever waits for the command may use the image then."""
    monkeypatch.setattr(launch, "END_S", 0.2)
    backup = pair.start("backup")
    process = subprocess.Popen(["sleep", "1"])  # for the daemon that ends late
    attendance = Attendance(Setup.load(backup.files.setup), backup.files, None)
    attendance._process = process
    ending = {signal.SIGTERM, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        signal.raise_signal(signal.SIGTERM)
        with standing_still(backup):
            attendance.stay({signal.SIGTERM}, lambda: tapdisk._end(backup.files))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert process.returncode == 0


def test_a_daemon_that_dies_is_told(pair: Pair) -> None:
    backup = pair.start("backup")
    backup.kill()
    assert backup.process.returncode == 1
    assert "DISK-154" in backup.hear("has ended by itself")
