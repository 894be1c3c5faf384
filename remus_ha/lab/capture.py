"""Capture the frames on an interface of a dom0, for instance a guest's before and after its plug.

Times are the host's own clock; ``to_monotonic`` turns them into the host's time.monotonic
seconds, in which the per-guest processes' logs are written.
"""

import threading
import time
from types import TracebackType

from remus_ha.lab.errors import RemoteFailed, TimedOut
from remus_ha.lab.host import Host
from remus_ha.lab.pcap import Frame, parse
from remus_ha.lab.process import wait_readable

_SNAP_BYTES = 256
# The clocks' distance, from the look that was least interrupted.
_CLOCKS = """
import time
def look():
    m, t, n = time.monotonic(), time.time(), time.monotonic()
    return n - m, t - (m + n) / 2
print(min(look() for _ in range(200))[1])
"""


class Capture:
    """tcpdump on a host, from entering the context to leaving it.

    ``direction``: ``in`` (what the interface received: a vif receives what its guest sends),
    ``out`` or ``inout``. ``expression`` is a pcap filter. When the host loses its power, what
    was captured until then is kept.
    """

    def __init__(
        self, host: Host, interface: str, *, direction: str = "inout", expression: str = ""
    ) -> None:
        self._host = host
        self._command = (
            f"exec tcpdump -i {interface} -Q {direction} -n -U --immediate-mode "
            f"-s {_SNAP_BYTES} -w - '{expression}'"
        )
        self._data = bytearray()
        self._offset_s = 0.0

    def __enter__(self) -> "Capture":
        self._offset_s = float(self._host.shell.text(["python3", "-c", _CLOCKS]))
        self._child = self._host.shell.popen(self._command)
        self._await_listening(time.monotonic() + 30)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.terminate()
        self._child.wait()
        self._reader.join()
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None
            pipe.close()

    def _await_listening(self, deadline: float) -> None:
        assert self._child.stderr is not None
        said = b""
        while b"listening on" not in said:
            if not wait_readable(self._child.stderr.fileno(), deadline):
                self._child.kill()
                raise TimedOut(what="tcpdump's start", seconds=30, where=self._host.name)
            line = self._child.stderr.readline()
            said += line
            if not line:
                raise RemoteFailed(
                    command=self._command,
                    host=self._host.name,
                    status=self._child.wait(),
                    output=said.decode(errors="replace"),
                )

    def _read(self) -> None:
        assert self._child.stdout is not None
        while chunk := self._child.stdout.read1(65536):  # type: ignore[attr-defined]
            self._data += chunk

    def frames(self) -> list[Frame]:
        """What was captured so far."""
        return list(parse(bytes(self._data)))

    def to_monotonic(self, frame: Frame) -> float:
        """When the host saw ``frame``, as its time.monotonic seconds."""
        return frame.time_s - self._offset_s
