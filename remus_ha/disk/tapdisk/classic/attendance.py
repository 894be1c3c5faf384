"""Whoever has started a disk's daemon stays with it, and puts another in the place of a dead one.

Only where a device is attached and the image is the guest's on this host: its requests wait for
the next daemon, which serves them unprotected. Without a device, who connects by NBD decides what a
lost connection means; a backup that dies is the receiver's affair.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path

from remus_ha.disk.tapdisk.classic import launch, nbdko
from remus_ha.disk.tapdisk.classic.apart import is_the_guests
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.nbdko import PATIENCE_S
from remus_ha.disk.tapdisk.classic.setup import Setup
from remus_ha.disk.tapdisk.errors import AttachFailed, DaemonEnded
from remus_ha.disk.tapdisk.uri import parse
from remus_ha.exceptions import RemusError
from remus_ha.waiting import readable

_AGAIN_S = 1.0
_FOR_EVER_S = 1e6  # as poll(2) can wait
_DEATHS = 5  # within PATIENCE_S: the next one would die as well


class Attendance:
    """One disk's daemon, and those after it; ``log`` None: they say things where we do."""

    def __init__(self, setup: Setup, files: Files, log: Path | None) -> None:
        self._setup, self._files, self._log = setup, files, log
        self._relay = -1
        self._deaths: list[float] = []
        self._process: subprocess.Popen[bytes]

    def begin(self) -> None:
        """Raises what ``launch.start`` raises, AttachFailed; then nothing is left."""
        self._process = launch.start(self._setup, self._files, self._log)
        if not self._setup.device:
            return
        try:
            self._relay = nbdko.attach(self._setup, self._files)
        except AttachFailed:
            launch.end(self._files)
            self._process.wait()
            raise

    def stay(self, heeded: Set[signal.Signals], heed: Callable[[], None]) -> None:
        """Until a daemon has ended in order. ``heed`` is called for each signal that is ``heeded``.

        All of them and SIGCHLD are blocked. Raises DaemonEnded where one dies and none may follow,
        and what ``launch.start`` raises; then nothing is attached to the device.
        """
        if self._relay >= 0:
            threading.Thread(target=self._tell_detachment, name="device", daemon=True).start()
        try:
            while self._status(heeded, heed):
                if not self._may_follow():
                    raise DaemonEnded(disk=self._setup.uri, status=self._process.returncode)
                self._follow()
        except RemusError:
            if self._is_attached():
                nbdko.abandon(self._setup.device, self._relay)
            raise
        finally:
            if self._relay >= 0:
                os.close(self._relay)

    def _status(self, heeded: Set[signal.Signals], heed: Callable[[], None]) -> int:
        """The daemon's exit status, once it has ended."""
        while (status := self._process.poll()) is None:
            if signal.sigwait({*heeded, signal.SIGCHLD}) in heeded:
                heed()
        return status

    def _may_follow(self) -> bool:
        now = time.monotonic()
        self._deaths = [*(at for at in self._deaths if at > now - PATIENCE_S), now]
        is_its = is_the_guests(Path(parse(self._setup.uri).path))
        return self._is_attached() and is_its and len(self._deaths) <= _DEATHS

    def _is_attached(self) -> bool:
        """Not any more once somebody has detached the device."""
        return self._relay >= 0 and not readable(self._relay, 0)

    def _tell_detachment(self) -> None:
        readable(self._relay, _FOR_EVER_S)
        lost = f"{self._setup.device} is attached no more: who still uses it gets errors"
        print(lost, file=sys.stderr, flush=True)

    def _follow(self) -> None:
        """Start another daemon; somebody may be looking at the image, or for a daemon, just now."""
        # What was in sync once is not any more.
        setup = replace(self._setup, in_sync=False)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._process = launch.start(setup, self._files, self._log)
                return
            except RemusError as e:
                if time.monotonic() > until:
                    raise
                print(f"not yet: {e}", file=sys.stderr, flush=True)
            time.sleep(_AGAIN_S)
