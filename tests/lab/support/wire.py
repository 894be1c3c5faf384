"""What reaches the outside: frames with a guest's MAC, captured at both hosts' cables.

The capture is on this machine, at the far end of each host's cable of the guests' network, so a
host's power cut ends nothing and all frames have one clock.
"""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

from remus_ha.lab.cluster import Lab
from remus_ha.lab.pcap import Frame
from remus_ha.lab.plan import Link

_ETH_P_ALL = 3
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_SNAP = 256
_OUI = bytes.fromhex("00163e")
_RARP = 0x8035


@dataclass(frozen=True, slots=True)
class Sighting:
    """A frame that ``host`` let out. Its ``frame.time_s`` are time.monotonic seconds here."""

    host: str
    frame: Frame


@dataclass(frozen=True, slots=True)
class Turn:
    """A host's time as the only one with new output; chatter numbers grow with the guest."""

    host: str
    first_seq: int
    last_seq: int
    first_s: float
    last_s: float


def turns(sightings: Iterable[Sighting]) -> list[Turn]:
    """Who emitted new chatter, in the order of time.

    New is a number higher than any that this host has shown. Once another host's turn has begun,
    what the former one shows below that turn's first number is a straggler of an epoch that both
    hold; any higher number is new output of a second living copy, and begins a turn again.
    """
    found: list[Turn] = []
    highest: dict[str, int] = {}
    for sighting in sorted(sightings, key=lambda s: s.frame.time_s):
        chatter = sighting.frame.chatter
        host = sighting.host
        if chatter is None or chatter.seq <= highest.get(host, 0):
            continue
        highest[host] = chatter.seq
        now = sighting.frame.time_s
        last = found[-1] if found else None
        if last is not None and last.host == host:
            found[-1] = Turn(host, last.first_seq, chatter.seq, last.first_s, now)
        elif last is None or chatter.seq >= last.first_seq:
            found.append(Turn(host, chatter.seq, chatter.seq, now, now))
    return found


class Wire:
    """Captures from entering the context to leaving it; ``frames`` may be asked meanwhile."""

    def __init__(self, lab: Lab, hosts: Sequence[str] = ("a", "b")) -> None:
        self._lab, self._hosts = lab, hosts
        self._seen: list[Sighting] = []
        self._changed = threading.Condition()
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="wire", daemon=True)
        self._offset_s = time.time() - time.monotonic()

    def __enter__(self) -> "Wire":
        with self._lab.enter():
            for name in self._hosts:
                # The protocol comes with the device: else it hears all devices until it is bound.
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
                sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
                sock.bind((self._lab.host(name).plan.device(Link.GUEST, "far"), _ETH_P_ALL))
                sock.setblocking(False)
                self._sockets[sock.fileno()] = (name, sock)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        if kind is not None:
            self._show()
        for _, sock in self._sockets.values():
            sock.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._stop_read, select.POLLIN)
        for fd in self._sockets:
            poll.register(fd, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            new = [s for fd in ready if fd in self._sockets for s in self._drain(fd)]
            if new:
                with self._changed:
                    self._seen += new
                    self._changed.notify_all()
            if self._stop_read in ready:
                return

    def _drain(self, fd: int) -> list[Sighting]:
        name, sock = self._sockets[fd]
        found: list[Sighting] = []
        while True:
            try:
                data, control, _, address = sock.recvmsg(_SNAP, 256)
            except BlockingIOError:
                return found
            except OSError:  # the cable was pulled: the socket says so once
                continue
            if address[2] != socket.PACKET_OUTGOING and data[6:9] == _OUI:
                found.append(Sighting(name, Frame(self._when(control), data)))

    def _when(self, control: list[tuple[int, int, bytes]]) -> float:
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack_from(value)
                return float(seconds + nanoseconds / 1e9) - self._offset_s
        return time.monotonic()

    def _show(self) -> None:
        """Print who emitted what (pytest shows it when a story fails)."""
        for mac in sorted({s.frame.source for s in self.frames()}):
            for turn in turns(self.frames(mac)):
                print(f"--- wire: {mac} {turn}")
            for host in self._hosts:
                times = [s.frame.time_s for s in self.frames(mac, host)]
                if times:
                    print(f"{len(times)} frames from {host}: {times[0]:.3f} to {times[-1]:.3f}")

    # -- what was seen

    def frames(self, mac: str = "", host: str = "", since_s: float = 0.0) -> list[Sighting]:
        """The sightings so far, of one MAC, of one host, from a moment (monotonic) on."""
        with self._changed:
            seen = list(self._seen)
        return [
            s
            for s in seen
            if s.frame.time_s >= since_s
            and (not mac or s.frame.source == mac)
            and (not host or s.host == host)
        ]

    def wait(
        self, found: Callable[[Sighting], bool], timeout_s: float, since_s: float = 0.0
    ) -> Sighting:
        """The first sighting for which ``found``; TimeoutError."""
        deadline = time.monotonic() + timeout_s
        at = 0
        with self._changed:
            while True:
                for sighting in self._seen[at:]:
                    if sighting.frame.time_s >= since_s and found(sighting):
                        return sighting
                at = len(self._seen)
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no such frame within {timeout_s:g} s")

    def emitters(self, mac: str, since_s: float = 0.0) -> list[str]:
        """The hosts of ``turns`` of one vif."""
        return [turn.host for turn in turns(self.frames(mac, since_s=since_s))]

    def announced(self, mac: str, host: str, since_s: float = 0.0) -> int:
        """How many RARP announcements of ``mac`` came from ``host``."""
        frames = self.frames(mac, host, since_s)
        return sum(s.frame.ethertype == _RARP for s in frames)
