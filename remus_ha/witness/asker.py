"""Ask a witness from a single-threaded event loop, without ever waiting in it.

One worker thread makes the blocking calls, one at a time; between them it sleeps in the kernel.
The loop registers ``fileno`` with epoll and takes the answer when it becomes readable.
"""

import logging
import os
import threading
import time
from dataclasses import dataclass

from remus_ha.core.register import Register
from remus_ha.exceptions import RemusError
from remus_ha.witness.base import Reading, Swap, WitnessDriver
from remus_ha.witness.errors import WitnessDriverFault
from remus_ha.witness.memory import Memory

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadRequest:
    uuid: str


@dataclass(frozen=True, slots=True)
class SwapRequest:
    uuid: str
    old: Register | None
    new: Register


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    uuid: str
    generation: int
    won: Register | None = None


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Answered by the first reading other than ``since``, or the last one before the timeout."""

    uuid: str
    since: Reading | None


Request = ReadRequest | SwapRequest | OpenedRequest | ChangeRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request.

    With ``error`` set, ``result`` is None and nobody knows more than before. Otherwise
    ``result`` is a Swap for a swap, a Reading for a read or a change, None for a record.
    """

    request: Request
    result: Reading | Swap | None
    error: RemusError | None
    took_s: float


@dataclass(slots=True, eq=False)
class _Task:
    """A request on its way; ``abandoned`` is guarded by the asker's condition."""

    request: Request
    timeout_s: float
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Counters:
    """How often the loop gave up, and how many finished answers nobody wanted any more."""

    abandoned: int
    discarded: int


class Asker:
    """At most one request is outstanding; asking for another one is a RuntimeError.

    A request is outstanding from its asking until its answer is taken or it is abandoned. All
    methods are for the loop's thread; the driver belongs to the worker, which closes it.
    """

    def __init__(self, driver: WitnessDriver, timeout_s: float) -> None:
        """``timeout_s`` bounds each ask that brings no bound of its own."""
        self._driver = driver
        self._timeout_s = timeout_s
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._condition = threading.Condition()
        self._outstanding: _Task | None = None
        self._queued: _Task | None = None
        self._running: _Task | None = None
        self._answer: Answer | None = None
        self._closing = False
        self._anew = False
        self._abandoned = 0
        self._discarded = 0
        self._thread = threading.Thread(target=self._work, name="witness", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Readable while an answer waits to be taken."""
        return self._event

    @property
    def busy(self) -> bool:
        """Whether a request is outstanding."""
        return self._outstanding is not None

    @property
    def counters(self) -> Counters:
        with self._condition:
            return Counters(self._abandoned, self._discarded)

    @property
    def memory(self) -> Memory | None:
        """What to keep in /run and hand to the driver of a successor (``open_witness``)."""
        return self._driver.memory

    def ask_read(self, uuid: str, timeout_s: float | None = None) -> None:
        self._ask(ReadRequest(uuid), timeout_s)

    def ask_swap(
        self, uuid: str, old: Register | None, new: Register, timeout_s: float | None = None
    ) -> None:
        self._ask(SwapRequest(uuid, old, new), timeout_s)

    def ask_opened(
        self,
        uuid: str,
        generation: int,
        timeout_s: float | None = None,
        won: Register | None = None,
    ) -> None:
        self._ask(OpenedRequest(uuid, generation, won), timeout_s)

    def ask_change(self, uuid: str, since: Reading | None, timeout_s: float) -> None:
        """See ``WitnessDriver.wait_change``; the way to hold until the witness says otherwise."""
        self._ask(ChangeRequest(uuid, since), timeout_s)

    def _ask(self, request: Request, timeout_s: float | None) -> None:
        task = _Task(request, self._timeout_s if timeout_s is None else timeout_s)
        with self._condition:
            if self._closing or self._outstanding is not None:
                raise RuntimeError("closed" if self._closing else "a request is outstanding")
            self._outstanding = self._queued = task
            self._condition.notify()

    def take(self) -> Answer | None:
        """The finished answer, once; None while there is none."""
        with self._condition:
            answer, self._answer = self._answer, None
            if answer is not None:
                os.eventfd_read(self._event)
                self._outstanding = None
            return answer

    def abandon(self) -> None:
        """Give up the outstanding request, if any; another may be asked at once.

        Its call is broken off, so that it does not hold up the next one. A swap that was given up
        may still take place: that is the same as a swap without an answer.
        """
        with self._condition:
            task, self._outstanding = self._outstanding, None
            if task is None:
                return
            task.abandoned = True
            self._abandoned += 1
            self._queued = None
            if self._running is task:
                self._driver.interrupt()
            if self._answer is not None:
                self._answer = None
                self._discarded += 1
                os.eventfd_read(self._event)

    def begin_anew(self) -> None:
        """Abandon the outstanding request; whichever store answers the next one is trusted."""
        self.abandon()
        with self._condition:
            self._anew = True

    def close(self, timeout_s: float = 1.0) -> None:
        """Break off, end the worker and close the driver. A worker that hangs is left behind."""
        with self._condition:
            if self._closing:
                return
            self._closing = True
            if self._running is not None:
                self._driver.interrupt()
            self._condition.notify()
        self._thread.join(timeout_s)
        os.close(self._event)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            self._finish(task, self._perform(task))
        self._driver.close()

    def _next(self) -> _Task | None:
        with self._condition:
            while self._queued is None and not self._closing:
                self._condition.wait()
            if self._closing:
                return None
            task, self._queued = self._queued, None
            self._running = task
            # Under the lock: an interrupt is for the running task alone.
            self._driver.rearm()
            if self._anew:
                self._driver.forget()
                self._anew = False
            return task

    def _finish(self, task: _Task, answer: Answer) -> None:
        with self._condition:
            self._running = None
            if task.abandoned:
                self._discarded += 1
            elif not self._closing:
                self._answer = answer
                os.eventfd_write(self._event, 1)

    def _perform(self, task: _Task) -> Answer:
        """The worker's outermost step: whatever a driver raises must reach the loop."""
        start = time.monotonic()
        result: Reading | Swap | None = None
        error: RemusError | None = None
        try:
            result = self._call(task.request, task.timeout_s)
        except RemusError as e:
            error = e
        except Exception as e:
            LOG.exception("the witness driver failed")
            error = WitnessDriverFault(why=repr(e))
        return Answer(task.request, result, error, time.monotonic() - start)

    def _call(self, request: Request, timeout_s: float) -> Reading | Swap | None:
        match request:
            case ReadRequest(uuid):
                return self._driver.read(uuid, timeout_s)
            case SwapRequest(uuid, old, new):
                return self._driver.swap(uuid, old, new, timeout_s)
            case ChangeRequest(uuid, since):
                return self._driver.wait_change(uuid, since, timeout_s)
            case OpenedRequest(uuid, generation, won):
                return self._driver.record_opened(uuid, generation, timeout_s, won)
