"""How many guests a host takes as their backup: real front ends, keepers and receivers at once.

The hypervisor's answers are a test's, and ``xl migrate-receive`` a program that only reads.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from remus_ha import conf, rundir, shares
from remus_ha.limits import OVERHEAD_KIB
from remus_ha.receive import start
from remus_ha.receive.admission import share_of
from remus_ha.receive.request import CHECKED, Request, parse_refusals, to_line
from remus_ha.stream.credentials import create, encode_certificate
from remus_ha.stream.modes import Tls
from tests.functional.checkpoint.pair import Pair
from tests.functional.listed import kill, pids
from tests.unit.hypervisor.xen.listing import UUID
from tests.unit.receive.test_request import REQUEST

MIB = 1024  # KiB
GUEST_KIB = 64 * MIB
DEADLINE_S = 60.0
PROGRAM = """
import sys
from types import SimpleNamespace
from remus_ha.receive import process, start

class Xen:
    version = "4.17"
    def backup_obstacles(self, *args):
        return []
    def host(self):
        return SimpleNamespace(free_kib=int(sys.argv[1]))
    def domain_of(self, uuid):
        return None

start.XenDriver = process.XenDriver = Xen
print("ready", file=sys.stderr, flush=True)
start.serve(sys.stdin.buffer, sys.stdout.buffer, address="127.0.0.1", port=0, only_check=False)
"""


class Backup:
    """A host with so much free memory; what it has started is ended with it."""

    def __init__(self, root: Path, *, free_kib: int) -> None:
        self._free_kib = free_kib
        self._certificate = encode_certificate(create().certificate)
        self._requests: list[Request] = []
        self._fronts: list[subprocess.Popen[bytes]] = []
        self._environment = {
            **os.environ,
            "PATH": f"{root}:{os.environ['PATH']}",
            "REMUS_HA_CONFIG": str(conf.PATH),
            "REMUS_HA_RUN_DIR": str(rundir.ROOT),
            "REMUS_HA_STATE_DIR": str(rundir.STATE),
            "REMUS_HA_LOG_DIR": str(rundir.LOGS),
        }

    def request(self) -> Request:
        """Of one more guest."""
        made = replace(
            REQUEST,
            guest_uuid=str(uuid.uuid4()),
            guest_name=f"web{len(self._requests)}",
            memory_kib=GUEST_KIB,
            certificate=self._certificate,
            witness="none:",
            disks=(),
            vifs=(),
            tls=Tls.DISABLED.value,
        )
        self._requests.append(made)
        return made

    def answers(self, *requests: Request) -> list[bytes]:
        """What it says to all of them at once."""
        fronts = [self._front() for _ in requests]
        self._fronts += fronts
        for front in fronts:
            assert front.stderr is not None
            assert front.stderr.readline() == b"ready\n"
        for front, request in zip(fronts, requests, strict=True):
            assert front.stdin is not None
            front.stdin.write(to_line(request))
        return [front.communicate(timeout=DEADLINE_S)[0] for front in fronts]

    def _front(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self._free_kib)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def close(self) -> None:
        for front in self._fronts:
            front.kill()
            front.communicate()
        for request in self._requests:
            for _ in range(2):  # a receiver that is being started again
                for module in ("remus_ha.receive.keeper", "remus_ha.receive"):
                    for pid in pids(module, request.guest_uuid):
                        kill(pid)


Made = Callable[..., Backup]


@pytest.fixture
def backup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """``backup(limits, free_kib=…)`` has those lines in its configuration."""
    root = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))  # a unix socket's path has to be short
    for name in ("ROOT", "STATE", "LOGS"):
        monkeypatch.setattr(rundir, name, root / name)
    monkeypatch.setattr(conf, "PATH", root / "remus-ha.conf")
    xl = root / "xl"
    xl.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    xl.chmod(0o755)
    made: list[Backup] = []

    def make(limits: str = "", *, free_kib: int = 1 << 30) -> Backup:
        conf.PATH.write_text(limits)
        made.append(Backup(root, free_kib=free_kib))
        return made[-1]

    yield make
    for host in made:
        host.close()
    shutil.rmtree(root, ignore_errors=True)


def codes(answers: list[bytes]) -> list[str]:
    """Of refusals the backup's own code, sorted; ``taken`` for the others."""
    refused = [str(parse_refusals(a)[0]) for a in answers if b'"error"' in a]
    return sorted([r.split("refuses: ")[1].split(":")[0] for r in refused]) + ["taken"] * (
        len(answers) - len(refused)
    )


def test_of_guests_that_come_at_once_only_those_are_taken_that_the_limit_has_room_for(
    backup: Made,
) -> None:
    host = backup("[backup]\nmemory_mib = 130\n")
    answers = host.answers(*(host.request() for _ in range(4)))
    assert codes(answers) == ["LIMIT-001", "LIMIT-001", "taken", "taken"]
    assert sum(share.memory_kib for share in shares.living("backup")) == 2 * GUEST_KIB
    (refused, *_) = [parse_refusals(a)[0] for a in answers if b'"error"' in a]
    takers = ", ".join(f"{share.name} 64" for share in shares.living("backup"))
    assert f"gives 130 MiB of memory to guests of other hosts; 128 MiB are taken ({takers})" in str(
        refused
    )
    assert "raise memory_mib" in refused.advice


def test_guests_that_come_at_once_are_not_promised_the_same_free_memory(backup: Made) -> None:
    """None of them has claimed anything of Xen yet."""
    host = backup(free_kib=GUEST_KIB + OVERHEAD_KIB + GUEST_KIB)
    assert codes(host.answers(host.request(), host.request())) == ["XEN-013", "taken"]


def test_a_share_outlives_the_keeper(backup: Made) -> None:
    host = backup()
    guest = host.request()
    assert codes(host.answers(guest)) == ["taken"]
    (keeper,) = pids("remus_ha.receive.keeper", guest.guest_uuid)
    kill(keeper)
    assert shares.living("backup") == [share_of(guest)]


def test_a_share_outlives_the_receiver_but_not_both(backup: Made) -> None:
    host = backup("[backup]\nmemory_mib = 64\n")
    first = host.request()
    assert codes(host.answers(first)) == ["taken"]
    (receiver,) = pids("remus_ha.receive", first.guest_uuid)
    kill(receiver)
    assert shares.living("backup") == [share_of(first)]
    assert codes(host.answers(host.request())) == ["LIMIT-001"]
    until = time.monotonic() + DEADLINE_S
    for pid in pids("remus_ha.receive.keeper", first.guest_uuid):
        kill(pid)
    while shares.living("backup"):  # a receiver that was started again, without a Xen
        assert time.monotonic() < until
        time.sleep(0.05)
    assert codes(host.answers(host.request())) == ["taken"]


def test_the_link_of_the_backup_is_counted_too(backup: Made) -> None:
    host = backup("[replication]\nlink_mbit_s = 100\n")
    first, second, third, none = (
        replace(host.request(), rate_mbit_s=rate) for rate in (60, 60, 40, 0)
    )
    assert codes(host.answers(first)) == ["taken"]
    assert codes(host.answers(second)) == ["LIMIT-003"]
    assert codes(host.answers(none)) == ["LIMIT-004"]
    assert codes(host.answers(third)) == ["taken"]


@pytest.mark.parametrize(("limit", "code"), [(63, "LIMIT-001"), (64, "taken")])
def test_who_only_asks_is_told_the_same_and_takes_nothing(
    backup: Made, monkeypatch: pytest.MonkeyPatch, limit: int, code: str
) -> None:
    host = backup(f"[backup]\nmemory_mib = {limit}\n")
    xen = SimpleNamespace(
        backup_obstacles=lambda *args: [], host=lambda: SimpleNamespace(free_kib=1 << 30)
    )
    monkeypatch.setattr(start, "XenDriver", lambda: xen)
    told = io.BytesIO()
    line = io.BytesIO(to_line(host.request()))
    start.serve(line, told, address="127.0.0.1", port=0, only_check=True)
    assert codes([told.getvalue()]) == [code]
    assert (told.getvalue() == CHECKED) is (code == "taken")
    assert shares.living("backup") == []
    assert not (rundir.ROOT / "backup").exists()


def test_a_claim_that_xen_has_is_not_counted_beside_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = Pair(monkeypatch)
    try:
        share = share_of(pair.request(create()))
        with shares.Counter() as counter:
            assert counter.add(share)
        assert not shares.is_claimed(share)
        pair.start()
        pair.wait(lambda: bool(pair.restore.claims))
        pair.wait(lambda: shares.is_claimed(share))
        assert pair.status("backup")["memory_kib"] == share.memory_kib
        pair.wait_protected()
        pair.unprotect()
        pair.backup.join()
        assert shares.living("backup") == []
        assert not rundir.directory("backup", UUID).joinpath("claimed").exists()
    finally:
        pair.close()
