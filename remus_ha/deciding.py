"""Running a transition table: events in, actions executed, the witness asked and heard.

One per process and role. Actions are executed in the table's order; an event that an action
causes waits until the actions of the present one are done. Witness requests go to the asker's
thread; its answers come back through the loop.
"""

import enum
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Generic, TypeVar

from remus_ha.core import witness as rule
from remus_ha.core.register import Register
from remus_ha.core.table import Machine
from remus_ha.core.witness import Ledger
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop, Timer
from remus_ha.witness.asker import Answer, Asker, OpenedRequest, SwapRequest
from remus_ha.witness.base import Reading, Swap
from remus_ha.witness.errors import WitnessRewound

RETRY_S = 0.5
ACCEPT_STORE = "accept-store"  # a per-guest process's command, with the incarnation

S = TypeVar("S", bound=enum.Enum)
E = TypeVar("E", bound=enum.Enum)
A = TypeVar("A", bound=enum.Enum)
F = TypeVar("F")


class Decider(Generic[S, E, F, A]):
    """Steps ``machine`` and does what it says.

    ``deeds`` maps every action that is not a request to the witness to a callable; ``facts``
    gives the facts of the moment, into which an event's own are put.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        machine: Machine[S, E, F, A],
        events: type[E],
        facts: Callable[[], F],
        deeds: Mapping[str, Callable[[], None]],
        asker: Asker,
        uuid: str,
        ledger: Ledger,
        keep: Callable[[Ledger], None],
        keep_opened: Callable[[int], None],
        log: Callable[[str], None],
    ) -> None:
        """``keep`` writes the ledger down for a successor, before anything rests on it;

        ``keep_opened`` the generation that the witness has noted as opened.
        """
        self._loop, self._machine, self._events, self._facts = loop, machine, events, facts
        self._asker, self._uuid, self._log = asker, uuid, log
        self._keep, self._keep_opened = keep, keep_opened
        self._complaint = ""
        self.ledger = ledger
        self._queue: deque[tuple[E, dict[str, Any]]] = deque()
        self._busy = False
        self._timer: Timer | None = None
        self._deeds: dict[str, Callable[[], None]] = {
            "read": self._read,
            "swap_to_me": lambda: self._swap(rule.bump),
            "swap_to_pair": lambda: self._swap(rule.pair),
            "swap_to_none": lambda: self._swap(rule.stop),
            "swap_to_peer": lambda: self._swap(rule.give_back),
            "seize": lambda: self._swap(rule.seize),
            "record_opened": self._record_opened,
            "ask_again_later": self._ask_again_later,
            **deeds,
        }
        loop.watch(asker.fileno(), self._on_answer)

    @property
    def state(self) -> S:
        return self._machine.state

    def feed(self, event: E, **facts: Any) -> None:
        """Take an event; its actions, and those of events they cause, are done on return."""
        self._queue.append((event, facts))
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                self._step(*self._queue.popleft())
        finally:
            self._busy = False

    def _step(self, event: E, facts: dict[str, Any]) -> None:
        before = self._machine.state
        moment: Any = self._facts()
        actions = self._machine.step(event, replace(moment, **facts))
        if self._machine.state is not before:
            told = " ".join(f"{k}={_word(v)}" for k, v in facts.items())
            self._log(f"{before.value} -> {self._machine.state.value} on {event.value} {told}")
        for action in actions:
            self._deeds[action.value]()

    def _swap(self, propose: Callable[[Ledger], Register]) -> None:
        new = propose(self.ledger)
        old = self.ledger.known
        self.ledger = rule.propose(self.ledger, new)
        self._request()
        self._asker.ask_swap(self._uuid, old, new)

    def _record_opened(self) -> None:
        known = self.ledger.known
        if known is None:
            raise ValueError("opening without a known register")
        self._request()
        self._asker.ask_opened(self._uuid, known.generation, won=known)

    def _read(self) -> None:
        self._request()
        self._asker.ask_read(self._uuid)

    def _request(self) -> None:
        """At most one request is outstanding, and no timer beside it."""
        self._asker.abandon()
        self._disarm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None

    def _ask_again_later(self) -> None:
        self._disarm()
        self._timer = self._loop.after(RETRY_S, lambda: self._tell("RETRY"))

    def _on_answer(self, _events: int) -> None:
        answer = self._asker.take()
        if answer is not None:
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        self._complain(answer.error or self._distrust(answer.result))
        if isinstance(answer.error, WitnessRewound):
            self._keep(self.ledger)  # the driver's memory has it: a successor is not to trust anew
        if isinstance(answer.request, OpenedRequest):
            if answer.error is None:
                self._keep_opened(answer.request.generation)
            self._tell("RECORD_FAILED" if answer.error else "OPENED_RECORDED")
        elif isinstance(answer.result, Reading):
            self._take_reading(answer.result)
        elif isinstance(answer.result, Swap):
            self._take_swap(answer.result)
        elif isinstance(answer.request, SwapRequest):
            rewound = isinstance(answer.error, WitnessRewound)
            self._tell("SWAP_REFUSED" if rewound else "SWAP_UNKNOWN")
        else:
            self._tell("READ_FAILED")

    def _distrust(self, result: Reading | Swap | None) -> RemusError | None:
        """What the table takes as no evidence (W9) is told to the operator."""
        known = self.ledger.incarnation
        if not isinstance(result, Reading) or known in (None, result.incarnation):
            return None
        why = f"incarnation is {result.incarnation}, {known} was known"
        return WitnessRewound(store="of this guest", why=why)

    def _complain(self, error: RemusError | None) -> None:
        """Once, and once more when it is over."""
        complaint = str(error) if error else ""
        if complaint != self._complaint:
            self._log(f"the witness: {complaint or 'answers again'}")
            self._complaint = complaint

    def _take_reading(self, reading: Reading) -> None:
        self.ledger, view = rule.read(
            self.ledger, reading.register, reading.opened, reading.incarnation
        )
        self._keep(self.ledger)
        self._tell("READ", standing=view.standing, opened=view.opened)

    def _take_swap(self, swap: Swap) -> None:
        if swap is Swap.WON:
            self.ledger = rule.won(self.ledger)
            self._keep(self.ledger)
        self._tell("SWAP_WON" if swap is Swap.WON else "SWAP_REFUSED")

    def _tell(self, event: str, **facts: Any) -> None:
        self.feed(self._events[event], **facts)

    def accept_store(self, incarnation: str) -> bool:
        """The store's new life counts from now on (W9); False where that is known already."""
        if self.ledger.incarnation == incarnation:
            return False
        self._log(f"the witness's new life {incarnation} is accepted")
        self._request()
        self._asker.begin_anew()
        accepted = rule.accept_incarnation(self.ledger)
        self.ledger = replace(accepted, incarnation=incarnation)
        self._tell("STORE_ACCEPTED")
        return True

    def close(self) -> None:
        self._loop.forget(self._asker.fileno())
        self._asker.close()


def _word(value: Any) -> str:
    return str(value.value) if isinstance(value, enum.Enum) else str(value)
