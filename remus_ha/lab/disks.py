"""The port of a guest's disk program: writers whose work it can prove, and saved records.

``verify`` compares the guest's disks with its memory. It sees every difference between the two,
so memory and disks that a failover took from different moments are told apart.
"""

import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from remus_ha.lab.control import DISKS_PORT
from remus_ha.lab.errors import BadValue, DisksRefused, LedgerUnreachable

_TRIES = 5
_REFUSED_S = 0.1
_ABSENT = "absent"
_LONGEST = 487


@dataclass(frozen=True, slots=True)
class DiskStat:
    """Counters. ``number`` is the last write begun, ``direct`` whether O_DIRECT works."""

    running: bool
    direct: bool
    writers: int
    disks: int
    kib_s: int
    number: int
    completed: int
    in_flight: int
    bytes: int
    errors: int
    last_error: int
    saved: int


@dataclass(frozen=True, slots=True)
class WriteLatency:
    """Durations of completed writes since the last reset, in µs; percentiles within 7 %."""

    count: int
    p50_us: int
    p95_us: int
    max_us: int


@dataclass(frozen=True, slots=True)
class LastWrite:
    """A writer's last completed write, 0 for none, and the number of the one in flight."""

    writer: int
    disk: str
    completed: int
    in_flight: int
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DiskVerdict:
    """What one disk shows, in sectors of 512 bytes."""

    checked: int
    missing: int
    later: int
    corrupt: int
    unread: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all disks show, in sectors of 512 bytes.

    ``checked`` held what they must; ``missing`` an older write or none; ``later`` a write that
    memory never began, there or at all; ``corrupt`` what nobody wrote; ``unread`` could not be
    read. No fault: ``unsure`` (a write failed there) and ``torn`` (a write was in flight there).
    ``in_flight`` counts writes, ``saved`` records; ``first`` describes the first fault.
    """

    clean: bool
    in_flight: int
    saved: int
    checked: int
    missing: int
    later: int
    corrupt: int
    unread: int
    unsure: int
    torn: int
    first: str
    disks: Mapping[str, DiskVerdict]


def parse_stat(text: str) -> DiskStat:
    """The answer to ``stat``."""
    numbers = _numbers(_pairs(text))
    running, direct = bool(numbers.pop("running")), bool(numbers.pop("direct"))
    return DiskStat(running=running, direct=direct, **numbers)


def parse_latency(text: str) -> WriteLatency:
    """The answer to ``latency``."""
    return WriteLatency(**_numbers(_pairs(text)))


def parse_last(text: str) -> LastWrite:
    """The answer to ``last``."""
    pairs = _pairs(text)
    disk = pairs.pop("disk")
    return LastWrite(disk=disk, **_numbers(pairs))


def parse_verdict(text: str) -> Verdict:
    """The answer to ``verify``; keys of one disk are ``NAME.KEY``."""
    pairs = _pairs(text)
    first = pairs.pop("first")
    disks: dict[str, dict[str, int]] = {}
    for key in [key for key in pairs if "." in key]:
        disk, _, what = key.rpartition(".")
        disks.setdefault(disk, {})[what] = int(pairs.pop(key))
    numbers = _numbers(pairs)
    return Verdict(
        clean=bool(numbers.pop("clean")),
        first="" if first == "-" else first,
        disks={name: DiskVerdict(**counts) for name, counts in disks.items()},
        **numbers,
    )


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _numbers(pairs: Mapping[str, str]) -> dict[str, int]:
    return {key: int(value) for key, value in pairs.items()}


class DiskControl:
    """Asks one guest. ``enter`` is the lab's (``lab.enter``).

    Every method raises LedgerUnreachable, and DisksRefused for an answer ``error WORD``.
    """

    def __init__(
        self,
        enter: Callable[[], AbstractContextManager[None]],
        address: str,
        port: int = DISKS_PORT,
    ) -> None:
        self._enter = enter
        self._address = address
        self._port = port

    def stat(self, timeout_s: float = 10.0) -> DiskStat:
        """Its counters now; it answers also while a disk does not."""
        return parse_stat(self._quick("stat", timeout_s))

    def start(self, kib_s: int | None = None) -> DiskStat:
        """Let the writers write, ``kib_s`` in all (0: as fast as it goes, None: as before)."""
        return parse_stat(self._quick("start" if kib_s is None else f"start {kib_s}"))

    def stop(self) -> DiskStat:
        """Let the writers end what they have begun; it does not wait for that."""
        return parse_stat(self._quick("stop"))

    def latency(self) -> WriteLatency:
        """How long writes took since ``reset``."""
        return parse_latency(self._quick("latency"))

    def reset(self) -> DiskStat:
        """Forget latencies and errors."""
        return parse_stat(self._quick("reset"))

    def last(self, writer: int) -> LastWrite:
        """Where a writer's last completed write is."""
        return parse_last(self._quick(f"last {writer}"))

    def forget(self, number: int) -> DiskStat:
        """For tests: let memory be as if no write above ``number`` had been begun."""
        return parse_stat(self._quick(f"forget {number}"))

    def verify(self, *, settle_s: float = 5.0, timeout_s: float = 120.0) -> Verdict:
        """Compare disks and memory; writers that run are held meanwhile.

        Writes in flight have ``settle_s`` to end; what they touch may then be old, new or torn.
        """
        return parse_verdict(self._patiently(f"verify {settle_s * 1000:.0f}", timeout_s))

    def save(self, text: str, *, timeout_s: float = 60.0) -> int:
        """Save one line (at most 487 bytes), answered with its number, once it is on the disk.

        Without an answer (LedgerUnreachable) it may be saved or not. BadValue.
        """
        if "\n" in text or not 0 < len(text.encode()) <= _LONGEST:
            raise BadValue(what="a saved line", value=text, wanted=f"1 to {_LONGEST} bytes")
        word, _, number = self._patiently(f"save {text}", timeout_s).partition(" ")
        if word != "saved":
            raise DisksRefused(command="save", word=word)
        return int(number)

    def save_unheard(self, text: str) -> None:
        """Save a line without waiting for the answer, where the guest's output is held."""
        with self._enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(f"save {text}".encode(), (self._address, self._port))

    def saved(self, number: int, *, timeout_s: float = 60.0) -> str | None:
        """The line saved as ``number``, read from the disk; None when it is not there."""
        try:
            answer = self._patiently(f"saved {number}?", timeout_s)
        except DisksRefused as refusal:
            if refusal.facts["word"] == _ABSENT:
                return None
            raise
        return answer.split(" ", 2)[2]

    def _quick(self, text: str, timeout_s: float = 10.0) -> str:
        """Over UDP, again while there is no answer: for what may be said twice."""
        deadline = time.monotonic() + timeout_s
        with self._enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(timeout_s / _TRIES)
            s.connect((self._address, self._port))
            while True:
                try:
                    s.send(text.encode())
                    return _answer(text, s.recv(4096).decode())
                except OSError as error:
                    if time.monotonic() >= deadline:
                        raise self._unreachable("udp", error) from error
                    if isinstance(error, ConnectionRefusedError):
                        # its guest is just starting, and nothing tells when the port is there
                        time.sleep(_REFUSED_S)

    def _patiently(self, text: str, timeout_s: float) -> str:
        """Over TCP, once: for what waits for a disk."""
        try:
            with self._enter():
                s = socket.create_connection((self._address, self._port), timeout_s)
            with s, s.makefile("rw", encoding="utf-8", newline="\n") as stream:
                stream.write(f"{text}\n")
                stream.flush()
                line = stream.readline()
        except OSError as error:
            raise self._unreachable("tcp", error) from error
        if not line:
            raise self._unreachable("tcp", "it closed the connection")
        return _answer(text, line)

    def _unreachable(self, proto: str, detail: object) -> LedgerUnreachable:
        return LedgerUnreachable(proto=proto, port=self._port, address=self._address, detail=detail)


def _answer(command: str, line: str) -> str:
    line = line.removesuffix("\n")
    word, _, rest = line.partition(" ")
    if word == "error":
        raise DisksRefused(command=command, word=rest)
    return line
