"""The tiny parent of a per-guest process: somebody is always there.

It holds descriptors that must stay open when the child dies, notices a child that dies or
stalls, runs ``on_loss`` (on the primary: let the guest go on, its output still held) and starts
the child again. The child in turn notices when its caretaker is gone and starts another one, so
killing either leaves the other. Nothing is inferred from one late wake-up: a host that was
frozen as a whole wakes both at once, and the child gets its full time again.

The link is a socket pair. From the child, one octet each: ``.`` I am making progress, ``L`` let
go of the held descriptors, ``Q`` I end on purpose. From the caretaker only end of file.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from remus_ha import forked
from remus_ha.journal import Journal
from remus_ha.waiting import readable, writable

BEAT, LET_GO, QUIT = b".", b"L", b"Q"
BEAT_INTERVAL_S = 0.5
STALL_S = 45.0  # longer than any command that a ward waits for
START_S = 120.0  # until the first octet: a loaded host takes long to start an interpreter
QUIT_S = 5.0
_LATE_S = 1.0  # waking this much too late means that the host, not the child, stood still
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Ward:
    """What to run: ``module`` with ``arguments``; ``held`` is passed on to it.

    ``main`` is the module's, where this process has it loaded: the first one is a copy of it.
    """

    module: str
    arguments: tuple[str, ...]
    held: tuple[int, ...]
    main: forked.Main | None = None

    def words(self, link_fd: int, *, restart: bool) -> list[str]:
        flags = ["--link", str(link_fd), "--held", ",".join(map(str, self.held))]
        if restart:
            flags.append("--restart")
        return [*self.arguments, *flags]


def parse_held(text: str) -> tuple[int, ...]:
    """The descriptors of ``--held``."""
    return tuple(int(fd) for fd in text.split(",") if fd)


class Caretaker:
    """Runs and restarts one ward until it ends on purpose."""

    def __init__(self, ward: Ward, on_loss: Callable[[], None], who: str) -> None:
        self._ward, self._on_loss = ward, on_loss
        self._log = Journal(who)
        self._held = list(ward.held)

    def run(self, adopt: tuple[int, int] | None = None, *, restart: bool = False) -> None:
        """Care until the ward quits. ``adopt``: pid and link of a ward that runs already.

        ``restart``: both died before; the ward takes up what they left.
        """
        losses = 0
        pid, link = adopt or self._start(restart=restart)
        while not self._watch(pid, link):
            os.close(link)
            self._lose()
            time.sleep(_BACKOFF_S[min(losses, len(_BACKOFF_S) - 1)])
            losses += 1
            self._log(f"starting {self._ward.module} again (loss {losses})")
            pid, link = self._start(restart=True)
        self.let_go()

    def _lose(self) -> None:
        """The outermost loop: whatever goes wrong here, the ward is started again."""
        try:
            self._on_loss()
        except Exception as e:
            self._log(f"after the loss of {self._ward.module}: {e!r}")

    def _start(self, *, restart: bool) -> tuple[int, int]:
        ours, theirs = socket.socketpair()
        with theirs:
            ward = replace(self._ward, held=tuple(self._held))
            words = ward.words(theirs.fileno(), restart=restart)
            passed = [*self._held, theirs.fileno()]
            if ward.main is not None and not restart and forked.is_possible():
                pid = forked.start(ward.module, words, ward.main, keep=passed)
            else:
                command = [sys.executable, "-m", ward.module, *words]
                pid = subprocess.Popen(command, pass_fds=passed, stdin=subprocess.DEVNULL).pid
        return pid, ours.detach()

    def _watch(self, pid: int, link: int) -> bool:
        """Until the ward ends: True when it quit on purpose, False when it is lost."""
        poll = select.poll()
        poll.register(link, select.POLLIN)
        patience_s = START_S
        while True:
            before = time.monotonic()
            if not poll.poll(patience_s * 1000):
                if time.monotonic() - before < patience_s + _LATE_S:
                    self._log(f"{self._ward.module} (pid {pid}) stalled: ending it")
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                continue
            patience_s = STALL_S
            try:
                octets = os.read(link, 4096)
            except ConnectionResetError:
                octets = b""
            if LET_GO in octets:
                self.let_go()
            if QUIT in octets or not octets:
                self._reap(pid)
                return QUIT in octets

    def _reap(self, pid: int) -> None:
        """Wait for the process itself: its end of the link closes a little earlier."""
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            self._wait_for_stranger(pid)

    @staticmethod
    def _wait_for_stranger(pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            readable(pidfd, STALL_S)
        finally:
            os.close(pidfd)

    def let_go(self) -> None:
        for fd in self._held:
            os.close(fd)
        self._held.clear()


class CareLink:
    """The ward's end of the link."""

    def __init__(self, fd: int, replace: Callable[[int, bool], None]) -> None:
        """``replace(link_fd, holds)`` starts a new caretaker that adopts this process.

        ``holds``: whether the held descriptors are to be held still.
        """
        self._replace = replace
        self._next_beat = 0.0
        self._pending = b""
        self._has_let_go = False
        self._use(fd)

    def _use(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def beat(self) -> None:
        """Call this out of the loop that makes progress; sends at most two octets a second."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + BEAT_INTERVAL_S
            self._say(BEAT)

    def let_go(self) -> None:
        self._has_let_go = True
        self._say(LET_GO)

    def quit(self) -> None:
        """The last word: waits a little for a caretaker that does not listen."""
        writable(self._fd, QUIT_S)
        self._say(QUIT)

    def lost(self) -> None:
        """The caretaker's end is closed: start another one."""
        os.close(self._fd)
        ours, theirs = socket.socketpair()
        with theirs:
            self._use(ours.detach())
            self._replace(theirs.fileno(), not self._has_let_go)

    def _say(self, octet: bytes) -> None:
        """Never blocks. What a full socket does not take is said later, except for beats."""
        wanted = self._pending + octet
        try:
            os.write(self._fd, wanted)
            self._pending = b""
        except BlockingIOError:
            self._pending = wanted.replace(BEAT, b"")
        except BrokenPipeError:
            pass  # the loop sees the hang-up and calls lost()


def start_detached(
    command: Sequence[str], pass_fds: Sequence[int], log_fd: int
) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own that outlives whoever started it."""
    return subprocess.Popen(
        list(command),
        pass_fds=list(pass_fds),
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        start_new_session=True,
        cwd="/",
    )


def start_loaded(module: str, words: Sequence[str], main: forked.Main, log_fd: int) -> int:
    """The same of a module that is loaded here already; its pid."""
    if forked.is_possible():
        return forked.start(module, words, main, keep=(), log_fd=log_fd)
    return start_detached([sys.executable, "-m", module, *words], [], log_fd).pid
