"""The operator's script that buffers a vif in our place (``-N``), called as libxl calls it.

The contract is that of ``remus-netbuf-setup`` (Xen: tools/hotplug/Linux/remus-netbuf-setup and
tools/libs/light/libxl_netbuffer.c). The one argument is ``setup`` or ``teardown``, with ``vifname``
and ``XENBUS_PATH`` in the environment, for a teardown ``REMUS_IFB`` as well where it is known.
``setup`` writes the name of the ifb to ``$XENBUS_PATH/ifb``, or its trouble to
``$XENBUS_PATH/hotplug-error``. A teardown may come more than once, and after a setup that failed.

libxl waits 40 s; here all vifs of a guest share less, since a backup waits for them.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from remus_ha.hypervisor.xen.xenstore import Xenstore
from remus_ha.netbuf.errors import ScriptFailed, ScriptHung, ScriptNamesNoIfb

SETUP_S = 30.0
TEARDOWN_S = 15.0
_KILLED_S = 1.0
_SAID_OCTETS = 4096


def open_store() -> Xenstore:
    """Where the script answers."""
    return Xenstore.open()


@dataclass(frozen=True, slots=True)
class VifScript:
    """A script and the vif that it is called for. ``deadline`` is of ``time.monotonic``."""

    path: str
    vif: str
    domid: int
    devid: int

    @property
    def node(self) -> str:
        """$XENBUS_PATH, in xenstore."""
        return f"/libxl/{self.domid}/remus/netbuf/{self.devid}"

    def setup(self, store: Xenstore, deadline: float) -> str:
        """Let it buffer the vif; the name of its ifb.

        Raises ScriptFailed, ScriptHung, ScriptNamesNoIfb, CommandFailed.
        """
        for key in ("ifb", "hotplug-error", "hotplug-status"):
            store.remove(f"{self.node}/{key}")
        failed: ScriptFailed | None = None
        try:
            self._run("setup", "", deadline)
        except ScriptFailed as e:
            failed = e
        complaint = store.read(f"{self.node}/hotplug-error")
        if complaint:
            raise ScriptFailed(**self._facts("setup"), detail=complaint) from failed
        if failed is not None:
            raise failed
        ifb = self.ifb(store)
        if not ifb:
            raise ScriptNamesNoIfb(**self._facts("setup"))
        return ifb

    def ifb(self, store: Xenstore) -> str:
        """The ifb that it has named last, empty where it has named none."""
        return store.read(f"{self.node}/ifb")

    def teardown(self, ifb: str, deadline: float) -> None:
        """Let it take back what it has set up. Raises ScriptFailed, ScriptHung."""
        self._run("teardown", ifb, deadline)

    def by_hand(self, word: str, ifb: str = "") -> str:
        """The same as a command of a shell."""
        setting = (f"{key}={shlex.quote(value)}" for key, value in self._environment(ifb).items())
        return f"{' '.join(setting)} {shlex.quote(self.path)} {word}"

    def _environment(self, ifb: str) -> dict[str, str]:
        known = {"vifname": self.vif, "XENBUS_PATH": self.node}
        return {**known, "REMUS_IFB": ifb} if ifb else known

    def _facts(self, word: str) -> dict[str, str]:
        return {"script": self.path, "vif": self.vif, "by_hand": self.by_hand(word)}

    def _run(self, word: str, ifb: str, deadline: float) -> None:
        # A file takes what it says: of a pipe somebody in the background may keep the other end.
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [self.path, word],
                    env={**os.environ, **self._environment(ifb)},
                    stdin=subprocess.DEVNULL,
                    stdout=said,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as e:
                raise ScriptFailed(**self._facts(word), detail=e.strerror) from e
            try:
                status = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired as e:
                _kill(process)
                raise ScriptHung(**self._facts(word), word=word) from e
            if status:
                said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID_OCTETS))
                lines = said.read().decode(errors="replace").strip().splitlines()
                detail = lines[-1] if lines else f"status {status}"
                raise ScriptFailed(**self._facts(word), detail=detail)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """With all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_S)
