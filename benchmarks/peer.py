"""Drives Xen's own ``xl remus`` in the test bed.

Debian's libxl is built without network buffering and refuses without ``-n``; ``-d`` is for disks,
of which the guest has none.
"""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.bed import BACKUP, GUEST, REMOTE, Bed, Lines, Suspends
from benchmarks.errors import PeerFailed
from remus_ha.lab.host import Host

FIRST_CHECKPOINT_S = 120.0
IDLE_S = 2.0
_END_S = 20.0
_STATE = "/run/bench-receive"
_PROGRAM = "/run/bench-idle-receive.py"

_RECEIVERS = r"""
import os, pathlib, signal
for p in pathlib.Path("/proc").iterdir():
    try:
        words = (p / "cmdline").read_bytes().split(b"\0") if p.name.isdigit() else []
    except OSError:
        continue
    if words[:1] in ([b"xl"], [b"/usr/local/sbin/xl"]) and b"migrate-receive" in words:
        os.kill(int(p.name), signal.SIGKILL)
"""
_RESUME = r"""
import sys
from xen.lowlevel import xc, xs
domid = int(sys.argv[1])
info = xc.xc().domain_getinfo(domid, 1)[0]
if info["shutdown"] and info["shutdown_reason"] == 2:
    xc.xc().domain_resume(domid, 1)
    xs.xs().resume_domain(domid)
"""


class StockRemus:
    """A guest that ``xl remus`` checkpoints now; ``suspends`` sees each request.

    ``began_after_s``: from the command to the first of them.
    """

    def __init__(self, bed: Bed, said: Lines, suspends: Suspends, began_after_s: float) -> None:
        self._bed, self._said, self.suspends = bed, said, suspends
        self.began_after_s = began_after_s

    def arm(self) -> None:
        """From now on the receiver's input ends after ``IDLE_S`` without data."""
        self._bed.backup.shell.run(f"kill -USR1 $(cat {_STATE}.pid)")

    def detected(self) -> float:
        """When that happened, on host b's monotonic clock."""
        return float(self._bed.backup.shell.text(["cat", f"{_STATE}.detected"]))

    def stop(self) -> None:
        """Kill the receiver before it can fail over; the guest goes on on host a."""
        self._end_receiver()
        self._end_sender()
        self._bed.primary.shell.run(["python3", "-c", _RESUME, self._bed.domid()])

    def abandon(self) -> None:
        """End the sender only: its receiver's host has no power."""
        self._end_sender(timeout_s=0.0)

    def _end_receiver(self) -> None:
        backup = self._bed.backup
        if backup.running:
            backup.shell.run(["python3", "-c", _RECEIVERS])
            for name in (f"{GUEST}--incoming", GUEST):
                backup.shell.run(["xl", "destroy", name], check=False)

    def _end_sender(self, timeout_s: float = _END_S) -> None:
        """It notices a dead receiver, resumes the guest and ends; else it is killed."""
        pid = self._said.seen()[0]
        wait = f"i=0; while kill -0 {pid} && [ $i -lt {timeout_s:.0f} ]; do sleep 1; i=$((i+1));"
        self._bed.primary.shell.run(
            f"{{ {wait} done; kill -9 {pid}; }} 2>/dev/null; true", timeout_s=timeout_s + 20
        )


@contextmanager
def stock_remus(bed: Bed, interval_ms: int, *, detector: bool = False) -> Iterator[StockRemus]:
    """``xl remus`` over ssh, until its first checkpoint. Ended by ``stop`` or ``abandon``.

    ``detector``: with ``idle_receive`` between ssh and the receiver. PeerFailed, Missing.
    """
    words = ["xl", "remus", "-F", "-d", "-n", "-i", str(interval_ms)]
    words += ["-s", "", GUEST, _detecting(bed.backup)] if detector else [GUEST, BACKUP]
    line = shlex.join(words)
    said = Lines(bed.primary, f"echo $$; exec {line}")
    with Suspends(bed) as suspends:
        began = time.monotonic()
        with said:
            with bed.lab.progress.step(line):
                said.wait("its pid", bool, 20)
                _wait_for(suspends, 1, said)
                began_after_s = time.monotonic() - began
                _wait_for(suspends, 3, said)
            yield StockRemus(bed, said, suspends, began_after_s)


def _wait_for(suspends: Suspends, count: int, said: Lines) -> None:
    try:
        suspends.wait(count, FIRST_CHECKPOINT_S)
    except Exception as error:
        output = " / ".join(said.seen()[-8:])
        raise PeerFailed(what="made no checkpoints", output=output) from error


def _detecting(backup: Host) -> str:
    """Puts the program on the host; the command that xl has to run as its way there."""
    program = (REMOTE / "idle_receive.py").read_bytes()
    backup.shell.run(f"rm -f {_STATE}.*; cat >{_PROGRAM}", stdin=program)
    receiver = ["python3", _PROGRAM, _STATE, f"{IDLE_S:g}", "xl", "migrate-receive", "-r"]
    return shlex.join(["exec", "ssh", BACKUP, *receiver])
