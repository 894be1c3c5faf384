"""The standard guest's control port: statistics, memory load, clock gaps, ways to end it."""

import socket
from dataclasses import dataclass

from remus_ha.lab.errors import LedgerUnreachable
from remus_ha.lab.network import Network

LEDGER_PORT = 7777
CONTROL_PORT = 7778
HELLO_PORT = 7779
CHATTER_PORT = 7780
# UDP as well, like HELLO_PORT, which guests only send to; the disk program passes hellos over.
DISKS_PORT = 7779
# TCP, where CHATTER_PORT is UDP that guests only send to.
DATABASE_PORT = 7780
_TRIES = 5


@dataclass(frozen=True, slots=True)
class GuestStat:
    """The guest's own view. ``ticks`` counts 100 a second; gaps are over 8 ms; times in us."""

    name: str
    number: int
    ticks: int
    now_us: int
    requests: int
    gap_max_us: int
    gaps: int
    dirty_kib_s: int
    dirty_mib: int
    chatter: int
    chatter_seq: int
    free_kib: int


@dataclass(frozen=True, slots=True)
class Gap:
    """The guest's clock jumped by ``gap_us`` and then read ``at_us``."""

    at_us: int
    gap_us: int


def parse_stat(text: str) -> GuestStat:
    """One line of ``key=value`` words."""
    pairs = dict(word.split("=", 1) for word in text.split())
    name = pairs.pop("name")
    return GuestStat(name=name, **{key: int(value) for key, value in pairs.items()})


class GuestControl:
    """Asks one guest over UDP (``gaps`` over TCP), from inside the lab's network."""

    def __init__(self, network: Network, address: str) -> None:
        self._network = network
        self._address = address

    def command(self, text: str, timeout_s: float = 10.0) -> str:
        """Send ``text``, again while there is no answer. LedgerUnreachable."""
        with self._network.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(timeout_s / _TRIES)
            s.connect((self._address, CONTROL_PORT))
            for _ in range(_TRIES):
                try:
                    s.send(text.encode())
                    return s.recv(4096).decode().strip()
                except OSError as error:
                    failure = error
        raise LedgerUnreachable(
            proto="udp", port=CONTROL_PORT, address=self._address, detail=failure
        )

    def stat(self) -> GuestStat:
        """Its counters now."""
        return parse_stat(self.command("stat"))

    def reset(self) -> None:
        """Forget the clock gaps."""
        self.command("reset")

    def dirty(self, kib_s: int, mib: int) -> None:
        """Dirty ``mib`` of memory in turn at ``kib_s``."""
        self.command(f"dirty {kib_s} {mib}")

    def gaps(self, timeout_s: float = 20.0) -> list[Gap]:
        """The last 4096 gaps over 8 ms since ``reset``, oldest first."""
        try:
            with self._network.enter():
                s = socket.create_connection((self._address, CONTROL_PORT), timeout_s)
            with s, s.makefile("rw") as stream:
                stream.write("gaps\n")
                stream.flush()
                lines = iter(stream.readline, "end\n")
                return [Gap(*map(int, line.split())) for line in lines]
        except OSError as error:
            raise LedgerUnreachable(
                proto="tcp", port=CONTROL_PORT, address=self._address, detail=error
            ) from error

    def end(self, how: str) -> None:
        """``shutdown``, ``reboot``, ``crash`` or ``exit``, from inside; no answer comes."""
        with self._network.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(how.encode(), (self._address, CONTROL_PORT))
