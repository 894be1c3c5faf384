"""Showing a protection while it runs: a live line on a terminal, plain lines anywhere else."""

import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.control_socket import NotRunning, ask
from remus_ha.exceptions import RemusError

START_S = 60.0
LOOK_S = 0.5
_MIB = 1 << 20
_GOOD_ENDS = ("stopped", "failed_over")


class EndedBadly(RemusError):
    code = "PROTECT-008"
    cause = "the protection of '{name}' ended: {state}"
    remedy = "Look at {log} and at 'xl list'; where the guest runs, protect it again."


class HeldElsewhere(RemusError):
    code = "PROTECT-013"
    cause = "the register says that '{name}' lives elsewhere: {holder}"
    remedy = (
        "After a failover the copy there is the guest, and this one is stale. If the guest was"
        " moved here on purpose, run 'remus-ha witness release URL {uuid}' on the host named."
    )


class View:
    """Shows one protection as a live line (terminal) or as log lines (anything else)."""

    def __init__(self, uuid: str, name: str, *, detach: bool) -> None:
        self._uuid, self._name, self._detach = uuid, name, detach
        self._socket = rundir.control_socket("primary", uuid)
        self._result = rundir.directory("primary", uuid) / "result.json"
        self._live = sys.stdout.isatty()
        self._seen = 0
        self._interrupted = False

    def show(self) -> int:
        signal.signal(signal.SIGINT, self._on_interrupt)
        signal.signal(signal.SIGTERM, self._on_interrupt)
        while True:
            status = self._look(time.monotonic() + START_S)
            if status is None:
                return self._end()
            self._print(status)
            # The table's own word: without a backup (-b) the operator's is never "protected".
            if self._detach and status["detail"] == "protected":
                return 0
            if self._interrupted:
                with contextlib.suppress(NotRunning):  # it ends, or is about to be started again
                    ask(self._socket, self._uuid, {"command": "unprotect"})
                    self._interrupted = False
            time.sleep(LOOK_S)

    def _on_interrupt(self, _signal: int, _frame: Any) -> None:
        self._interrupted = True

    def _look(self, start_deadline: float) -> dict[str, Any] | None:
        """None once the process has ended and said how."""
        while True:
            try:
                return dict(ask(self._socket, self._uuid, _status(self._seen)))
            except NotRunning:
                if self._result.exists():
                    return None
                if time.monotonic() > start_deadline:
                    raise
                time.sleep(LOOK_S)

    def _print(self, status: dict[str, Any]) -> None:
        for event in status["events"]:
            self._seen = event["number"]
            clear = "\r\x1b[K" if self._live else ""
            stamp = time.strftime("%H:%M:%S", time.localtime(event["time"]))
            print(f"{clear}{stamp} {self._name}: {event['text']}")
        if self._live:
            print(f"\r\x1b[K{line(status)}", end="", flush=True)
        sys.stdout.flush()

    def _end(self) -> int:
        result: Any = rundir.read_json(self._result) or {}
        for event in result.get("events", ()):
            if event["number"] > self._seen:
                print(f"{self._name}: {event['text']}")
        state = result.get("state", "error")
        print(f"{self._name}: {state}")
        if "error" in result:
            e = result["error"]
            print(f"remus-ha: {e['code']}: {e['cause']}\n  {e['remedy']}", file=sys.stderr)
            return 1
        if result.get("detail") == "refused":
            raise HeldElsewhere(name=self._name, uuid=self._uuid, holder=result.get("holder"))
        if self._detach or state not in _GOOD_ENDS:
            log: Path = rundir.LOGS / f"primary-{self._uuid}.log"
            raise EndedBadly(name=self._name, state=state, log=log)
        return 0


def _status(seen: int) -> dict[str, Any]:
    return {"command": "status", "after": seen}


def line(status: dict[str, Any]) -> str:
    """One line of figures: state, epoch, rate, pause, size of an epoch, what is held back."""
    f = status.get("figures", {})
    pause = f.get("pause_ms", {}).get("median", 0.0)
    backlog = sum(v["backlog_octets"] for v in status.get("vifs", ()))
    drops = sum(v["drops"] for v in status.get("vifs", ()))
    syncing = _syncing(status.get("disks", ()))
    if syncing:
        return f"{status['name']}: {status['state']}  {syncing}"
    return (
        f"{status['name']}: {status['state']}  epoch {status.get('acked', -1)}"
        f"  {f.get('checkpoints_per_s', 0.0):.1f}/s  pause {pause:.1f} ms"
        f"  dirty {f.get('octets', 0) / 1024:.0f} KiB"
        f"  lag {f.get('ack_ms', {}).get('median', 0.0):.1f} ms"
        f"  held {backlog} B" + (f"  DROPS {drops}" if drops else "") + _verification(status)
    )


def _verification(status: dict[str, Any]) -> str:
    """What ``remus-ha disk verify`` has found, or is doing; empty where all is well."""
    known = status.get("verification") or {}
    bad = ", ".join(known.get("bad_disks", ()))
    text = f"  {bad} DIFFERS on the backup" if bad else ""
    if known.get("running"):
        text += f"  verifying {100 * known['done_octets'] // known['octets']} %"
    return text


def _syncing(disks: Sequence[dict[str, Any]]) -> str:
    """How far the disks' synchronisation is; empty when they are mirrored."""
    if not any(disk["stage"] == "syncing" for disk in disks):
        return ""
    done = sum(disk["synced_octets"] for disk in disks)
    whole = sum(disk["sync_octets"] for disk in disks)
    rate = sum(disk["octets_per_s"] for disk in disks)
    left = f"{(whole - done) / rate:.0f} s left" if rate else "stalled"
    share = 100 * done // whole if whole else 0
    return (
        f"disks {done / _MIB:.0f} of {whole / _MIB:.0f} MiB ({share} %), {rate / _MIB:.1f} MiB/s,"
        f" {left}"
    )
