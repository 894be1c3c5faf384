"""``remus-ha disk verify``, the command itself, against whole sessions with real stores."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.checkpoint import verification, verifying
from remus_ha.control_socket import ask
from remus_ha.disk import tls
from remus_ha.disk.base import Stage
from remus_ha.stream import frames
from tests.functional.checkpoint import moved
from tests.functional.checkpoint.pair import NAME, UUID, Pair
from tests.functional.checkpoint.straight import StraightDisks
from tests.functional.checkpoint.test_disks import Disks, start, wait_epochs
from tests.functional.disk import machine
from tests.functional.disk.writers import Writers

MIB = 1 << 20
SIZE = 3 * MIB


class Verify:
    """The command in a process of its own."""

    def __init__(self, pair: Pair, *options: str, guest: str = NAME) -> None:
        command = [sys.executable, "-m", "remus_ha.cmd.remus_ha", "disk", "verify", guest, *options]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "REMUS_HA_RUN_DIR": str(pair.root / "run")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[int, str, str]:
        """Exit status, and what it said."""
        said, complained = self.process.communicate(timeout=60)
        assert "Traceback" not in complained
        return self.process.returncode, said, complained

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def verify(pair: Pair, *options: str) -> tuple[int, str, str]:
    return Verify(pair, *options).end()


def flip(image: Path, at: int) -> None:
    with image.open("r+b") as f:
        f.seek(at)
        octet = f.read(1)[0]
        f.seek(at)
        f.write(bytes([octet ^ 0x40]))


def result(pair: Pair) -> dict[str, Any]:
    return dict(pair.status()["verification"])


def events(pair: Pair) -> list[str]:
    return [event["text"] for event in pair.status()["events"]]


def running(pair: Pair) -> bool:
    return bool(result(pair).get("running"))


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(verification, "SETTLE_S", 0.5)
    monkeypatch.setattr(verifying, "READ_S", 10.0)  # no look is dropped on a slow machine
    made = Pair(monkeypatch)
    StraightDisks.made.clear()
    for vdev in ("xvda", "xvdb"):
        made.disks[vdev] = SIZE
        made.paths[vdev] = made.root / f"{vdev}-here.img"
        made.paths[vdev].write_bytes(bytes(SIZE))
    yield made
    made.close()


@pytest.fixture
def disks(pair: Pair) -> Iterator[Disks]:
    made = Disks(pair)
    yield made
    for client in made.clients:
        client.kill()


def write_both(pair: Pair, disks: Disks, at: int, octet: int) -> None:
    """4 KiB on both sides of both disks, as a driver would."""
    for client, path in zip(disks.clients, pair.paths.values(), strict=True):
        with path.open("r+b") as f:
            f.seek(at)
            f.write(bytes([octet]) * 4096)
        assert "wrote" in client.write(at, 4096, octet)


# --- what it finds


def test_disks_that_are_the_same(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    write_both(pair, disks, 8192, 7)
    write_both(pair, disks, SIZE - 4096, 8)
    wait_epochs(pair, 2)
    status, said, complained = verify(pair)
    assert (status, complained) == (0, "")
    assert said.splitlines() == [
        f"xvda: {SIZE} of {SIZE} octets compared, no mismatch",
        f"xvdb: {SIZE} of {SIZE} octets compared, no mismatch",
    ]
    assert pair.status()["state"] == "protected"
    assert any("no mismatch was found" in text for text in events(pair))


def test_one_octet_of_the_backups_image(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    flip(pair.image("xvdb"), 2 * MIB + 700)
    status, said, _ = verify(pair)
    assert status == 1
    assert f"xvdb: {SIZE} of {SIZE} octets compared, 512 differ: 512 at {2 * MIB + 512}" in said
    assert f"xvda: {SIZE} of {SIZE} octets compared, no mismatch" in said
    assert any(text.startswith("MISMATCH: 512 octets of xvdb") for text in events(pair))
    assert pair.status()["state"] == "protected", "what is done about it is the operator's"


def test_one_octet_of_the_primarys_image(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    flip(pair.paths["xvda"], SIZE - 1)
    status, said, _ = verify(pair, "--json")
    assert status == 1
    found = json.loads(said)
    assert found["complete"]
    assert found["disks"][0]["mismatches"] == [{"offset": SIZE - 512, "length": 512}]
    assert found["disks"][1]["mismatches"] == []


def test_a_mismatch_stays_in_sight(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    flip(pair.paths["xvda"], 0)
    assert verify(pair)[0] == 1
    shown = subprocess.run(
        [sys.executable, "-m", "remus_ha.cmd.remus_ha", "status"],
        env={**os.environ, "REMUS_HA_RUN_DIR": str(pair.root / "run")},
        capture_output=True,
        text=True,
    )
    assert "xvda DIFFERS" in shown.stdout
    flip(pair.paths["xvda"], 0)
    ended_early = Verify(pair, "--rate", "4")
    pair.wait(lambda: running(pair))
    ended_early.process.send_signal(signal.SIGINT)
    ended_early.end()
    assert result(pair)["bad_disks"] == ["xvda"]
    assert verify(pair)[0] == 0
    assert result(pair)["bad_disks"] == []


def test_a_write_that_only_the_backup_has(pair: Pair, disks: Disks) -> None:
    """It lies in an epoch that is committed, and in the image or not."""
    start(pair, disks)
    assert "wrote" in disks.clients[0].write(MIB, 4096, 1)
    status, said, _ = verify(pair)
    assert status == 1
    assert f"4096 differ: 4096 at {MIB}" in said


def test_a_write_on_its_way_is_no_mismatch(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This host has it and the backup has not, for many epochs; then it arrives."""
    monkeypatch.setattr(verification, "SETTLE_S", 60.0)
    start(pair, disks)
    with pair.paths["xvda"].open("r+b") as f:
        f.write(b"\7" * 4096)
    command = Verify(pair)
    pair.wait(lambda: result(pair).get("done_octets") == 2 * SIZE - 4096)
    wait_epochs(pair, verification.SAME_LOOKS)
    assert "wrote" in disks.clients[0].write(0, 4096, 7)
    assert command.end()[0] == 0


def test_an_image_of_something_else_ends_it_early(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "HOPELESS", MIB)
    start(pair, disks)
    pair.image("xvda").write_bytes(os.urandom(SIZE))
    assert verify(pair)[0] == 1
    assert not result(pair)["complete"]
    assert result(pair)["disks"][0]["mismatched_octets"] >= MIB


@pytest.mark.parametrize("rate", ["64", "1000", "16384"])
def test_any_rate(pair: Pair, disks: Disks, rate: str) -> None:
    pair.interval_ms = 5
    start(pair, disks)
    assert verify(pair, "--rate", rate)[0] == 0


# --- under a guest that writes


class Busy:
    """A guest whose disk is in a QEMU: it writes, but not while it is suspended."""

    def __init__(self, pair: Pair, driver: str) -> None:
        self.pair = pair
        self.gate = threading.Event()
        self.gate.set()
        self.machine = moved.Machine.guest = machine.Guest(pair.root)
        pair.disks, pair.paths = {"xvda": machine.SIZE}, {"xvda": self.machine.image}
        pair.disk_entry = f"tests.functional.checkpoint.moved:{driver}"
        tls.save(pair.disk_key, rundir.directory("primary", UUID) / "tls")
        pair.interval_ms, pair.detect_ms = 40, 5000
        pair.buffer.look = self._look
        self.writers: Writers | None = None

    def _look(self, hook: str) -> None:
        if hook == "postsuspend":
            self.gate.clear()
        elif hook in ("preresume", "teardown"):
            self.gate.set()

    def write(self) -> Writers:
        self.writers = Writers(self.machine.nbd, gate=self.gate)
        self.writers.wait(200)
        return self.writers

    def end(self) -> None:
        if self.writers is not None:
            self.gate.set()
            self.pair.buffer.look = lambda hook: None
            self.writers.stop()
        self.machine.end()


@pytest.fixture(params=moved.DRIVERS)
def busy(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Busy]:
    made = Busy(pair, request.param)
    yield made
    made.end()


def test_writers_give_no_alarm(pair: Pair, busy: Busy) -> None:
    pair.start()
    pair.wait_protected()
    writers = busy.write()
    status, said, complained = verify(pair)
    writers.wait(1)
    assert (status, complained) == (0, ""), said
    assert f"xvda: {machine.SIZE} of {machine.SIZE} octets compared, no mismatch" in said


def test_one_octet_under_writers(pair: Pair, busy: Busy) -> None:
    """Where they do not write: what they do write mends itself."""
    pair.start()
    pair.wait_protected()
    writers = busy.write()
    flip(pair.image("xvda"), 40 * MIB)
    status, said, _ = verify(pair)
    writers.wait(1)
    assert status == 1, said
    assert f"512 differ: 512 at {40 * MIB}" in said


# --- what it is refused, and how it ends


def refusal(told: tuple[int, str, str]) -> str:
    """The code of a command that could not be carried out."""
    status, _, complained = told
    assert status == 2
    code = re.match(r"remus-ha: ([A-Z]+-\d+): .+\n  .+", complained)
    assert code, complained
    return code[1]


def test_a_guest_without_disks(pair: Pair) -> None:
    pair.disks.clear()
    pair.start()
    pair.wait_protected()
    assert refusal(verify(pair)) == "VERIFY-002"


def test_a_guest_that_is_not_here(pair: Pair) -> None:
    assert refusal(Verify(pair, guest="nobody").end()) == "PROTECT-007"


def test_while_the_disks_are_being_copied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StraightDisks, "begin", lambda self: self._become(Stage.SYNCING))
    pair.start()
    pair.wait(lambda: pair.status().get("state") == "syncing")
    assert refusal(verify(pair)) == "VERIFY-001"


def test_a_second_one_at_the_same_time(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    first = Verify(pair, "--rate", "4")
    pair.wait(lambda: running(pair))
    assert refusal(verify(pair)) == "VERIFY-003"
    first.process.send_signal(signal.SIGINT)
    first.end()


def test_a_backup_of_an_older_release(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not know the frame, and end the session over it."""
    monkeypatch.setattr("remus_ha.receive.process.DISK_VERIFY", "something-else")
    assert frames.DISK_VERIFY != "something-else"
    start(pair, disks)
    assert refusal(verify(pair)) == "VERIFY-004"
    wait_epochs(pair, 2)


def test_an_image_that_is_not_where_it_was(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    pair.paths["xvdb"].unlink()
    assert refusal(verify(pair)) == "VERIFY-005"
    pair.paths["xvdb"].write_bytes(bytes(SIZE - 512))
    assert refusal(verify(pair)) == "VERIFY-005"


def test_ctrl_c_ends_it_on_the_primary(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    command = Verify(pair, "--rate", "4")
    pair.wait(lambda: result(pair).get("done_octets", 0) > 0)
    command.process.send_signal(signal.SIGINT)
    assert refusal(command.end()) == "VERIFY-009"
    assert not running(pair)
    assert not result(pair)["complete"]
    assert verify(pair)[0] == 0


def test_a_command_that_is_killed_ends_it_after_a_while(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "UNASKED_S", 1.5)
    start(pair, disks)
    command = Verify(pair, "--rate", "4")
    pair.wait(lambda: running(pair))
    command.kill()
    pair.wait(lambda: not running(pair))
    assert result(pair)["error"]["code"] == "VERIFY-009"


def test_the_protections_end_is_its_end(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    command = Verify(pair, "--rate", "4")
    pair.wait(lambda: running(pair))
    os.kill(disks.pid("xvdb"), signal.SIGKILL)
    assert command.end()[0] == 2
    pair.wait(lambda: (pair.result() or {}).get("state") == "degraded")
    assert not pair.result()["verification"]["complete"]


def test_an_image_that_cannot_be_read_in_time_costs_no_pause(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest is resumed, and the verification gives up after many such epochs."""
    monkeypatch.setattr(verifying, "READ_S", 0.0)
    monkeypatch.setattr(verifying, "PATIENCE", 10)
    monkeypatch.setattr("remus_ha.checkpoint.reader.os.preadv", slow(os.preadv))
    start(pair, disks)
    assert refusal(verify(pair)) == "VERIFY-008"
    assert pair.status()["state"] == "protected"


def slow(preadv: Any) -> Any:
    def read(fd: int, buffers: Any, offset: int, flags: int = 0) -> int:
        time.sleep(0.005)
        return int(preadv(fd, buffers, offset, flags))

    return read


def test_a_look_that_the_backup_refuses_is_not_a_mismatch(
    pair: Pair, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does while its journal is full; it is told why nothing could be found out."""
    start(pair, disks)
    verifier = pair.primary_process._verifying
    hash_there = verifier._hash_there

    def ask_too_much(n: int, look: verification.Look) -> None:
        hash_there(n, verification.Look(look.vdev, look.offset, look.length, 1))

    verifier._hash_there = ask_too_much
    with monkeypatch.context() as impatient:
        impatient.setattr(verifying, "PATIENCE", 10)
        status, _, complained = verify(pair)
    assert status == 2
    assert "VERIFY-008" in complained
    assert "DISK-011" in complained
    verifier._hash_there = hash_there
    assert verify(pair)[0] == 0


def test_rubbish_on_the_local_socket(pair: Pair, disks: Disks) -> None:
    start(pair, disks)
    path = rundir.control_socket("primary", UUID)
    for rate in ("x", None, [], -(1 << 70)):
        answer = ask(path, UUID, {"command": "verify", "rate": rate})
        if "error" not in answer:
            ask(path, UUID, {"command": "end-verification"})
    wait_epochs(pair, 2)
