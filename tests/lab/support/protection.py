"""One protection of one guest in the lab, with both sides' logs followed from the beginning."""

import json
import shlex
import subprocess
import time
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from remus_ha.lab.errors import LabError, RemoteFailed
from remus_ha.lab.host import Host
from tests.lab.support.follow import Follower
from tests.lab.support.stage import WITNESS, Guest, Stage

PROTECT_S = 300.0  # the first copy of disks that are written to, on a slow machine
DECIDE_S = 240.0  # twenty epochs, detection and a restore, on a slow machine
DETECT_MS = 3000

# What a host looks like when a story fails there.
_SCENE = """
xl list; ip -br link; bridge link; tc -s qdisc show
grep -r . /run/remus-ha/vif /var/lib/remus-ha/vif
tail -n 5 /var/log/remus-ha/restore-*.log; tail -n 60 /var/log/xen/console/guest-*.log
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
rings=$(ls /sys/kernel/debug/xen-netback/*/io_ring_q*)
tail -n +1 $rings; grep vif /proc/interrupts; dmesg | tail -n 20
xl dmesg | grep -iE -A 24 'triple fault|crashed' | tail -n 60
xl debug-keys e; xl dmesg | sed -n '/Event channel information/,$p' | tail -n 120
# Whether a ring moves when its backend is told to look again tells who was waiting for whom.
for ring in $rings; do echo kick >$ring; done; tail -n +1 $rings
"""

# The lines with which the two roles' processes end.
ENDS = r" ends as (\w+)"
KEEPER_GONE = r"the keeper is gone"


class Protection:
    """``remus-ha protect --detach`` on entering; on leaving only the logs are let go.

    ``environment`` is put before the command (``REMUS_HA_KILLPOINT=…``); ``options`` are words of
    the command line, ``receiver`` stands for the backup's name. With ``detach=False`` the command
    stays (``foreground``). With ``start=False`` only the logs are followed; ``command`` is for the
    story to run.
    """

    def __init__(
        self,
        stage: Stage,
        guest: Guest,
        *options: str,
        detect_ms: int = DETECT_MS,
        environment: str = "",
        detach: bool = True,
        start: bool = True,
        witness: str = WITNESS,
        receiver: str = "",
    ) -> None:
        self.stage, self.guest = stage, guest
        self.primary, self.backup = guest.host, guest.other
        self._stack = ExitStack()
        words = ["remus-ha", "protect", "--detect", str(detect_ms), *options]
        words += ["--detach"] if detach else []
        words += ["--witness", witness] if witness else []
        words += [guest.name, receiver or self.backup]
        setting = f"export {environment}; " if environment else ""
        self.command = f"{setting}exec {shlex.join(words)}"
        self._detach, self._start = detach, start
        self.foreground: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Protection":
        assert self.stage.is_watched(self.guest), "nobody would see what becomes of it outside"
        primary, backup = self.stage.host(self.primary), self.stage.host(self.backup)
        uuid = self.guest.uuid
        logs = "/var/log/remus-ha"
        self.log_primary = Follower(primary, f"{logs}/primary-{uuid}.log")
        self.log_backup = Follower(backup, f"{logs}/backup-{uuid}.log")
        self._stack.enter_context(self.log_primary)
        self._stack.enter_context(self.log_backup)
        try:
            if not self._start:
                pass
            elif self._detach:
                primary.shell.run(self.command, timeout_s=PROTECT_S)
            else:
                self.foreground = primary.shell.popen(self.command)
                self.log_primary.wait(r"pairing -> protected", PROTECT_S)
        except BaseException:
            self.show()
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.show()
        if self.foreground is not None and self.foreground.poll() is None:
            self.foreground.kill()
            self.foreground.wait()
        self._stack.close()

    def show(self) -> None:
        """Print both logs and what the hosts have (pytest shows it when a story fails)."""
        for log in (self.log_primary, self.log_backup):
            print(f"--- {log.host.name} {log.path}")
            print("\n".join(log.lines[-60:]))
            if log.host.running and not log.host.hung:
                with suppress(LabError):  # its management link may be pulled
                    done = log.host.shell.run(_SCENE, timeout_s=30, check=False)
                    print(done.stdout.decode(errors="replace"))

    # -- what the two sides say

    def status(self, host: str) -> dict[str, Any]:
        """This guest's entry of ``remus-ha status --json`` on ``host``."""
        told = json.loads(self.stage.host(host).shell.text("remus-ha status --json"))
        found = [dict(entry) for entry in told if entry["uuid"] == self.guest.uuid]
        assert len(found) == 1, told
        return found[0]

    def progress(self) -> dict[str, Any]:
        """The primary's own word on the running session."""
        told = ask(self.stage.host(self.primary), "primary", self.guest.uuid, {"command": "status"})
        assert told is not None, "the primary's process does not answer"
        return dict(told)

    def wait_alone(self, timeout_s: float = DECIDE_S) -> None:
        """Until the primary has ended the session and the guest goes on there."""
        self.log_primary.wait(r" ends as alone", timeout_s)

    def wait_failed_over(self, timeout_s: float = DECIDE_S) -> None:
        """Until the copy is the guest."""
        self.log_backup.wait(r" ends as alive", timeout_s)
        self.stage.moved(self.guest, self.backup)

    def unprotect(self) -> None:
        """End it; both sides have ended when this returns."""
        self.stage.host(self.primary).shell.run(["remus-ha", "unprotect", self.guest.name])
        self.log_primary.wait(ENDS)
        self.log_backup.wait(ENDS)

    def wait_checkpoints(self, count: int, timeout_s: float = DECIDE_S) -> None:
        """Until ``count`` more epochs are acknowledged."""
        deadline = time.monotonic() + timeout_s
        first = self.progress()["acked"]
        while (now := self.progress()["acked"]) < first + count:
            assert time.monotonic() < deadline, f"only epoch {now} after {first}"


def ask(host: Host, role: str, uuid: str, request: dict[str, Any]) -> Any:
    """What a guest's running process answers on its local socket; None without one.

    Through socat, because starting an interpreter in a busy dom0 takes seconds.
    """
    path = f"/run/remus-ha/{role}/{uuid}/control.sock"
    words = f"socat -t 30 - UNIX-CONNECT:{path}"
    done = host.shell.run(words, stdin=json.dumps(request).encode() + b"\n", check=False)
    return json.loads(done.stdout) if done.stdout.strip() else None


def refused(stage: Stage, host: str, command: str) -> str:
    """What a command that must fail with status 1 says on standard error."""
    try:
        stage.host(host).shell.run(command, timeout_s=PROTECT_S)
    except RemoteFailed as error:
        said = str(error)
        assert "status 1" in said, said
        return said
    raise AssertionError(f"'{command}' on {host} should have been refused")
