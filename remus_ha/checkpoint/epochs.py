"""The hot loop: one epoch after the other, for as long as nothing is wrong.

Rules of this file: no fork, no message bus, no database, no logging above debug, no allocation
that can be avoided; two netlink sends per epoch. Page octets never pass through it: the save
helper writes them into a pipe and ``splice`` moves them on.

The order within an epoch is what output commit rests on (design §3): suspend, BUFFER and the end
of the epoch on the disks, copy into the pipe, resume, mark; and the next suspend only after this
epoch's acknowledgement, because a plug has room for exactly one unacknowledged epoch.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from remus_ha.core.pacing import Pace, next_deadline
from remus_ha.hypervisor.base import Ask, DomainControl, Life, MemoryStream
from remus_ha.killpoint import KillPoint
from remus_ha.loop import Loop

COPY_SLICE_S = 0.03  # how long a copy may run before the pipe's level is looked at
PAUSED_LOOK_S = 0.25  # nothing tells when an operator unpauses a domain


class Trouble(Exception):
    """The session cannot go on. ``life`` is the guest's, when the guest is the reason."""

    def __init__(self, reason: str, life: Life | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.life = life


class Outflow(Protocol):
    """The sender's end of the stream (``remus_ha.checkpoint.outflow``)."""

    moved_at: float

    def look(self) -> None: ...
    def backlog(self) -> int: ...
    def hold(self) -> None: ...
    def go(self) -> None: ...
    def offset(self) -> int: ...
    def nearly_full(self) -> bool: ...


class Buffer(Protocol):
    """The three hooks of a buffered device (``remus_ha.netbuf.base``)."""

    def postsuspend(self) -> None: ...
    def preresume(self) -> None: ...
    def commit(self) -> None: ...


class DiskEpochs(Protocol):
    """The guest's replicated disks (``remus_ha.checkpoint.disks``)."""

    def close(self, n: int) -> None: ...
    def closed(self, n: int) -> bool: ...
    def resumed(self, n: int) -> None: ...
    def vouches(self, n: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """All in seconds. ``still_s``: how long nothing of the first copy may move."""

    suspend_s: float
    copy_s: float
    close_s: float
    still_s: float


@dataclass(slots=True)
class Sample:
    """What happened when in one epoch; ``time.monotonic`` seconds, 0 where not yet."""

    n: int
    requested: float = 0.0
    suspended: float = 0.0
    copied: float = 0.0
    resumed: float = 0.0
    acked: float = 0.0
    octets: int = 0
    overflowed: bool = False

    @property
    def pause_s(self) -> float:
        return self.resumed - self.suspended


class Epochs:
    """Epochs of one session. ``mark(n, offset)`` tells the backup where epoch n ends."""

    def __init__(
        self,
        *,
        loop: Loop,
        domain: DomainControl,
        stream: MemoryStream,
        outflow: Outflow,
        buffer: Buffer,
        disks: DiskEpochs,
        pace: Pace,
        timing: Timing,
        mark: Callable[[int, int], None],
        killpoint: KillPoint,
    ) -> None:
        self._loop, self._domain, self._stream = loop, domain, stream
        self._outflow, self._buffer, self.pace = outflow, buffer, pace
        self._disks = disks
        self._timing, self._mark, self._killpoint = timing, mark, killpoint
        self._asked: list[Ask] = []
        self._trouble: Trouble | None = None
        self._start_offset = 0
        self._heard_at = 0.0
        self._due_ns = 0
        self.skipped = 0
        self.sample = Sample(0)
        self.marked = -1
        self.acked = -1
        self.last: int | None = None  # of a planned failover
        self.may_go_on: Callable[[], bool] = lambda: True
        self.finished: Callable[[Sample], None] = lambda sample: None
        self.before_first_suspend: Callable[[], None] = lambda: None
        self.suspended: Callable[[int], None] = lambda n: None  # the disks' epoch n has ended
        self.asking = False
        self._down = False

    def fail(self, trouble: Trouble) -> None:
        """From a callback: end the loop at its next wait. The first reason counts."""
        self._trouble = self._trouble or trouble

    def on_stream(self, _events: int) -> None:
        """The save helper has something to say. Raises SaveFailed."""
        self._heard_at = time.monotonic()
        self._asked += self._stream.pump()

    def end_with_next(self) -> None:
        """The next epoch to begin is the last one: the guest stays suspended after it."""
        self.last = self.sample.n + 1

    def call_off(self) -> bool:
        """Whether the last one had not begun: then it is one like any other."""
        begun = self.last is None or self.sample.n >= self.last
        self.last = self.last if begun else None
        return not begun

    @property
    def expects_suspend(self) -> bool:
        """Whether the guest has been asked to suspend, or is suspended by us."""
        return self.asking or self._down

    def outstanding(self) -> int | None:
        """The marked epoch whose acknowledgement is awaited."""
        return self.marked if self.marked > self.acked else None

    def acknowledge(self, n: int) -> bool:
        """Take ACK(n) if it is the outstanding one; False for a stale or early one."""
        if n != self.outstanding():
            return False
        self.acked = n
        self.sample.acked = time.monotonic()
        return True

    def release(self) -> None:
        """Let the outstanding epoch's output go: the acknowledgement may be believed."""
        self._killpoint.at("c")
        self._buffer.commit()
        self._killpoint.at("c2")

    def run(self) -> None:
        """Until something is wrong. Raises Trouble, SaveFailed and the buffer's errors."""
        self._outflow.go()
        self._first_copy()
        while True:
            self._settle()
            if self.marked < 0:
                self.before_first_suspend()
            self._suspend()
            self._cut()
            self._copy()
            self._resume()
            self._tell()

    def _wait(self, done: Callable[[], bool], deadline: float | None) -> bool:
        self._loop.until(lambda: self._trouble is not None or done(), deadline)
        if self._trouble is not None:
            raise self._trouble
        return done()

    def _wait_for_ask(self, ask: Ask, deadline: float | None) -> bool:
        if not self._wait(lambda: bool(self._asked), deadline):
            return False
        got = self._asked.pop(0)
        if got is not ask:
            raise Trouble(f"the save helper asked for {got.value} where {ask.value} was due")
        return True

    def _first_copy(self) -> None:
        """The guest runs meanwhile, and a slow link may take its time: only progress is judged."""
        moved_at, still_s = time.monotonic(), self._timing.still_s
        while not self._wait_for_ask(Ask.SUSPEND, moved_at + still_s):
            self._outflow.look()
            last = max(self._heard_at, self._outflow.moved_at)
            if last <= moved_at:
                who = "backup takes" if self._outflow.backlog() else "save helper sends"
                raise Trouble(f"the first copy stands still: the {who} nothing for {still_s:.1f} s")
            moved_at = last

    def _settle(self) -> None:
        """Wait until the last epoch is acknowledged and the next one is due."""
        self._wait(lambda: self.outstanding() is None and self.may_go_on(), None)
        if self.sample.acked:
            self.finished(self.sample)
        self._wait(lambda: False, self._next_start())
        while self._domain.life() is Life.PAUSED:
            self._wait(lambda: False, time.monotonic() + PAUSED_LOOK_S)

    def _next_start(self) -> float:
        """When to ask for the next suspend; at once for epoch 0."""
        now_ns = time.monotonic_ns()
        if self.marked < 0:
            self._due_ns = now_ns
        else:
            resumed_ns = int(self.sample.resumed * 1e9)
            deadline = next_deadline(self.pace, self._due_ns, resumed_ns, now_ns)
            self._due_ns = deadline.start_ns
            self.skipped += deadline.skipped
        return self._due_ns / 1e9

    def _suspend(self) -> None:
        sample = self.sample = Sample(self.marked + 1)
        self._start_offset = self._outflow.offset()
        sample.requested = time.monotonic()
        self.asking = True
        self._domain.request_suspend()
        if not self._wait(self._gave_up, time.monotonic() + self._timing.suspend_s):
            self._suspend_is_late()
        self.asking, self._down = False, True
        life = self._domain.life()
        if life is not Life.SUSPENDED:
            raise Trouble(f"the guest ended: {life.value}", life)
        sample.suspended = time.monotonic()

    def _gave_up(self) -> bool:
        return self._domain.life() not in (Life.RUNNING, Life.PAUSED)

    def _suspend_is_late(self) -> None:
        """No suspend within T: give up, but for a guest that its operator has paused meanwhile."""
        while self._domain.life() is Life.PAUSED:
            self._wait(lambda: False, time.monotonic() + PAUSED_LOOK_S)
            if self._domain.life() is Life.RUNNING:
                self._wait(self._gave_up, time.monotonic() + self._timing.suspend_s)
        if not self._gave_up():
            raise Trouble(f"the guest did not suspend within {self._timing.suspend_s:.1f} s")

    def _cut(self) -> None:
        """From here on what the guest sends belongs to the next epoch.

        What it writes does once the backup has said so; that takes no longer than the copy.
        """
        self._killpoint.at("s")
        self._buffer.postsuspend()
        self._disks.close(self.sample.n)
        self._killpoint.at("s2")

    def _copy(self) -> None:
        self._outflow.hold()
        self._stream.reply(1)
        self.suspended(self.sample.n)
        end = time.monotonic() + self._timing.copy_s
        while not self._wait_for_ask(Ask.POSTCOPY, time.monotonic() + COPY_SLICE_S):
            if self._outflow.nearly_full():
                self.sample.overflowed = True
                self._outflow.go()
            if time.monotonic() >= end:
                raise Trouble(f"the copy took longer than {self._timing.copy_s:.1f} s")
        self.sample.copied = time.monotonic()

    def _resume(self) -> None:
        self._killpoint.at("r")
        n = self.sample.n
        if not self._wait(lambda: self._disks.closed(n), time.monotonic() + self._timing.close_s):
            raise Trouble(f"epoch {n} could not be closed on the disks")
        self.sample.resumed = time.monotonic()
        if n != self.last:
            self._go_on()
        self._disks.resumed(n)
        self._killpoint.at("r2")
        self._stream.reply(1)

    def _go_on(self) -> None:
        self._buffer.preresume()
        self._down = False
        self._domain.resume_now()
        self.sample.resumed = time.monotonic()
        self._domain.rearm()

    def _tell(self) -> None:
        self._wait_for_answer(Ask.CHECKPOINT)
        offset = self._outflow.offset()
        self.sample.octets = offset - self._start_offset
        n = self.sample.n
        if not self._wait(lambda: self._disks.vouches(n), time.monotonic() + self._timing.close_s):
            raise Trouble(f"nobody vouches for epoch {n} of the disks")
        self.marked = self.sample.n
        self._mark(self.marked, offset)
        self._outflow.go()
        self._stream.reply(1)
        self._wait_for_answer(Ask.SUSPEND)

    def _wait_for_answer(self, ask: Ask) -> None:
        if not self._wait_for_ask(ask, time.monotonic() + self._timing.copy_s):
            raise Trouble(f"the save helper did not get to its {ask.value}")
