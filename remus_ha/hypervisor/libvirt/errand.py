"""Having something done about libvirt while a per-guest process goes on."""

import os
import subprocess
import sys
from collections.abc import Callable

from remus_ha.loop import Loop

GIVE_UP_S = 120.0
_MODULE = "remus_ha.hypervisor.libvirt"


class Errand:
    """One run of ``remus_ha.hypervisor.libvirt``; what it complains of goes to ``log``."""

    def __init__(self, loop: Loop, words: list[str], log: Callable[[str], None]) -> None:
        self._loop, self._log = loop, log
        self._process: subprocess.Popen[bytes] | None = None
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as e:
            log(f"libvirt is not told: {e}")
            return
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        loop.watch(self._pidfd, lambda _events: self._end())
        self._timer = loop.after(GIVE_UP_S, process.kill)

    @property
    def busy(self) -> bool:
        return self._process is not None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._loop.cancel(self._timer)
        self._loop.forget(self._pidfd)
        os.close(self._pidfd)
        said = process.communicate()[0].decode(errors="replace").strip()
        if process.returncode == 0:
            self._log("libvirt controls the guest as it did before the protection")
        else:
            self._log(said.splitlines()[-1] if said else f"libvirt is not told: {process.args!r}")
