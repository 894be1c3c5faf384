"""Strangers at every port that a protection opens: turned away, and it goes on."""

import contextlib
import random
import socket
import ssl
import threading
from types import TracebackType

import pytest

from remus_ha.lab.plan import Link
from tests.lab.support import processes
from tests.lab.support.protection import Protection
from tests.lab.support.stage import Stage
from tests.lab.test_disks import KIB_S, judged, writing

ATTEMPTS = 200
AT_ONCE = 12
PATIENCE_S = 5.0
MOST_MIB = 160  # of a process of ours, in whose way strangers stand


def _rubbish(s: socket.socket) -> None:
    s.sendall(random.Random(1).randbytes(256 << 10))


def _a_frame_without_end(s: socket.socket) -> None:
    s.sendall(b"\xff" * 64)
    s.recv(1)


def _nothing(s: socket.socket) -> None:
    s.recv(1)


def _a_drop_at_a_time(s: socket.socket) -> None:
    for octet in b"\x16\x03\x01\x02":
        s.sendall(bytes([octet]))
        threading.Event().wait(PATIENCE_S / 4)


def _a_stranger_over_tls(s: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(s) as sealed:
        sealed.sendall(b"\xff" * 4096)
        sealed.recv(1)


_ATTACKS = (_rubbish, _a_frame_without_end, _nothing, _a_drop_at_a_time, _a_stranger_over_tls)


class Strangers:
    """Attack a host's ports from this machine until the context ends, a bounded number of times."""

    def __init__(self, stage: Stage, host: str) -> None:
        self._stage, self._host = stage, stage.host(host)
        self._address = self._host.plan.address(Link.REPL)
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.tried: dict[int, int] = {}  # attempts by port

    def _ports(self) -> list[int]:
        """Of our processes, now."""
        listed = self._host.shell.text("ss -Hltnp").splitlines()
        rows = [line.split() for line in listed if "sshd" not in line]
        return sorted({int(row[3].rpartition(":")[2]) for row in rows})

    def _attack(self, number: int) -> None:
        dice = random.Random(number)
        with self._stage.lab.enter():
            while not self._end.is_set() and sum(self.tried.values()) < ATTEMPTS:
                for port in self._ports():
                    with self._lock:
                        self.tried[port] = self.tried.get(port, 0) + 1
                    with contextlib.suppress(OSError):
                        with socket.create_connection((self._address, port), PATIENCE_S) as s:
                            s.settimeout(PATIENCE_S)
                            dice.choice(_ATTACKS)(s)
                self._end.wait(0.2)

    def __enter__(self) -> "Strangers":
        self._threads = [
            threading.Thread(target=self._attack, args=(n,), name=f"stranger-{n}")
            for n in range(AT_ONCE)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("disks", [0, 2])
def test_while_it_is_protected(stage: Stage, disks: int) -> None:
    """Also while the backup waits for its primary; then the guest survives a power cut."""
    guest = stage.guest(disks=disks)
    writer = writing(stage, guest) if disks else None
    with Strangers(stage, guest.other) as strangers, Protection(stage, guest) as p:
        if writer is not None:
            writer.start(KIB_S)
        p.wait_checkpoints(5)
        guest.clients.wait_answers()
        for role in ("receiver", "keeper"):
            (pid,) = processes.pids(stage.host(p.backup), role)
            grown = stage.host(p.backup).shell.text(f"grep VmHWM /proc/{pid}/status")
            assert int(grown.split()[1]) < MOST_MIB << 10, grown
        assert strangers.tried, "there was no port to attack"
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        guest.clients.wait_answers()
    if writer is not None:
        verdict = judged(writer)
        assert verdict.clean, verdict
    print(f"attempts by port: {strangers.tried}")
