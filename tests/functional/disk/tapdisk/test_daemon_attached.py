"""``--attach``, ``--detach`` and ``--stop``. The kernel's nbd driver is not here: what it would be

told is what the commands are asked to do.
"""

import subprocess
from pathlib import Path

import pytest

from tests.functional.disk.machine import DEADLINE_S, Orders
from tests.functional.disk.writers import Nbd

from .daemons import SIZE, Daemon, Hosts, Pair

pytestmark = pytest.mark.root


def test_a_device_is_connected_while_the_daemon_lives(pair: Pair, nbd_client: Path) -> None:
    backup = pair.start("backup", "--attach", "/dev/nbd5")
    assert backup.told == "/dev/nbd5"
    assert backup.stop() == 0
    assert nbd_client.read_text().splitlines() == [
        f"-unix {backup.nbd} /dev/nbd5 -block-size 512",
        "-d /dev/nbd5",
    ]


def test_detached_it_serves_until_it_is_stopped(
    hosts: Hosts, pair: Pair, tmp_path: Path, nbd_client: Path
) -> None:
    directory = tmp_path / "backup"
    options = ("--detach", "--attach", "/dev/nbd0", "--nbd", str(tmp_path / "disk.nbd"))
    daemon = Daemon(hosts, "backup", directory, *options)
    assert daemon.told == "/dev/nbd0"
    assert daemon.process.wait(DEADLINE_S) == 0
    assert Orders(daemon.files.orders, owns=False).status()["role"] == "backup"
    assert Nbd(tmp_path / "disk.nbd").size == SIZE
    assert "serves as backup" in daemon.files.log.read_text()
    subprocess.run(daemon.command("--stop"), check=True)
    assert len(nbd_client.read_text().splitlines()) == 2
    with pytest.raises(OSError, match="No such file"):
        Nbd(tmp_path / "disk.nbd")


def test_without_its_device_nothing_is_left(
    hosts: Hosts, pair: Pair, tmp_path: Path, nbd_client: Path
) -> None:
    program = tmp_path / "bin" / "nbd-client"
    program.write_text("#!/bin/sh\necho no such device >&2\nexit 1\n")
    daemon = Daemon(hosts, "backup", tmp_path / "backup", "--attach", "/dev/nbd0")
    assert daemon.process.returncode == 1
    assert any("DISK-155" in line and "no such device" in line for line in daemon.said)
    assert not daemon.nbd.exists()
    assert pair.start("backup").role == "backup"
