"""Drives the product in the test bed, by its command line and its local socket."""

import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.bed import BACKUP, GUEST, Bed
from benchmarks.errors import Missing
from remus_ha.lab.demo.journal import Entry, parse
from remus_ha.lab.demo.remote import Dialogue, Follower
from remus_ha.lab.host import Host

DETECT_MS = 3000
_PROTECT_S = 120.0
_END_S = 30.0
_FORGET = "rm -rf /run/remus-ha/primary /run/remus-ha/backup /var/log/remus-ha/*.log"


@dataclass(frozen=True, slots=True)
class Epoch:
    """One checkpoint, moments on host a's monotonic clock in seconds."""

    n: int
    requested: float
    suspended: float
    copied: float
    resumed: float
    acked: float
    octets: int
    overflowed: bool

    @property
    def pause_ms(self) -> float:
        """How long the guest stood still."""
        return (self.resumed - self.suspended) * 1e3

    @property
    def lag_ms(self) -> float:
        """From the resumed guest to the acknowledgement: transfer, commit, round trip."""
        return (self.acked - self.resumed) * 1e3


class Log:
    """The journal of one side's process, followed from now on."""

    def __init__(self, host: Host, path: str) -> None:
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._follower = Follower(host, f"exec tail -q -n +1 -F {path} 2>/dev/null", self._take)

    def _take(self, line: str) -> None:
        entry = parse(line)
        if entry is not None:
            with self._changed:
                self._entries.append(entry)
                self._changed.notify_all()

    @property
    def entries(self) -> list[Entry]:
        """All so far."""
        with self._changed:
            return list(self._entries)

    def wait(self, text: str, timeout_s: float) -> Entry:
        """The first entry that contains ``text``. Missing."""

        def found() -> Entry | None:
            return next((entry for entry in self._entries if text in entry.text), None)

        with self._changed:
            entry = self._changed.wait_for(found, timeout_s)
            tail = " / ".join(entry.text for entry in self._entries[-6:])
        if entry is None:
            raise Missing(what=f"'{text}'", seconds=timeout_s, tail=tail)
        return entry

    def close(self) -> None:
        """Stop following."""
        self._follower.close()


class Protection:
    """A guest that is protected now. ``began_after_s``: from the command to its return."""

    def __init__(
        self, bed: Bed, dialogue: Dialogue, logs: tuple[Log, Log], began_after_s: float
    ) -> None:
        self._bed, self._dialogue = bed, dialogue
        self.primary, self.backup = logs
        self.began_after_s = began_after_s

    def _ask(self, **words: Any) -> Any:
        return json.loads(self._dialogue.ask(json.dumps(words)))

    def epochs(self, after: int = -1) -> list[Epoch]:
        """The finished epochs later than ``after``."""
        return [Epoch(**sample) for sample in self._ask(command="samples", after=after)]

    def status(self) -> dict[str, Any]:
        """What ``remus-ha status --json`` shows."""
        told: dict[str, Any] = self._ask(command="status", after=0)
        return told

    def unprotect(self) -> None:
        """End it; both sides' processes have ended when this returns."""
        self._bed.primary.shell.run(["remus-ha", "unprotect", GUEST])
        self.wait_end()

    def wait_end(self) -> None:
        """Until both processes have ended, as far as their hosts have power. Missing."""
        for log, host in ((self.primary, self._bed.primary), (self.backup, self._bed.backup)):
            if host.running:
                log.wait("ends as ", _END_S)


@contextmanager
def protected(bed: Bed, interval_ms: int, *options: str) -> Iterator[Protection]:
    """``remus-ha protect``; on leaving only the conversations end."""
    uuid = bed.uuid()
    with ExitStack() as stack:
        logs = []
        for host, role in ((bed.primary, "primary"), (bed.backup, "backup")):
            host.shell.run(_FORGET)
            log = Log(host, f"/var/log/remus-ha/{role}-{uuid}.log")
            logs.append(stack.enter_context(closing(log)))
        timing = ("-i", str(interval_ms), "--detect", str(DETECT_MS))
        where = ("--witness", bed.witness, *options, GUEST, BACKUP)
        words = ("protect", "--detach", *timing, *where)
        began = time.monotonic()
        with bed.lab.progress.step(f"remus-ha {shlex.join(words)}"):
            bed.primary.shell.run(["remus-ha", *words], timeout_s=_PROTECT_S)
        began_after_s = time.monotonic() - began
        socket = f"/run/remus-ha/primary/{uuid}/control.sock"
        dialogue = Dialogue(bed.primary, f"exec socat -t 20 - UNIX-CONNECT:{socket}")
        stack.enter_context(closing(dialogue))
        yield Protection(bed, dialogue, (logs[0], logs[1]), began_after_s)
