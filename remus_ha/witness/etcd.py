"""The witness on etcd (3.4 and newer), over its JSON gateway.

Every answer is judged against what was seen before (``Memory``). Once it contradicts, the driver
refuses everything: the object stays distrustful, and so does a successor that is given its memory.
"""

from remus_ha.core.register import Register
from remus_ha.witness import etcdtxn as tx
from remus_ha.witness.base import Reading, Swap, WitnessDriver
from remus_ha.witness.deadline import Deadline
from remus_ha.witness.errors import (
    WitnessCorrupt,
    WitnessNotInitialised,
    WitnessRewound,
    WitnessUnavailable,
    WitnessUrlInvalid,
)
from remus_ha.witness.gateway import Gateway
from remus_ha.witness.keys import Keys
from remus_ha.witness.memory import Memory
from remus_ha.witness.rows import decode_opened, decode_register, encode_opened
from remus_ha.witness.url import parse_etcd_url

WATCH_LEG_S = 5.0  # a watch on a member that lost its quorum stays silent: read now and then


class EtcdWitness(WitnessDriver):
    """See ``WitnessDriver``. ``memory`` is a predecessor's, or None to trust what answers first.

    A swap is one transaction that compares the incarnation and the row; when it fails, its other
    branch reads both, so that "it has the new value already" is judged from the same moment.
    It is sent once at most (see ``gateway``): when its answer gets lost the call raises
    WitnessUnavailable, and asking for the same swap again tells, since finding ``new`` is WON.
    """

    def __init__(self, url: str, memory: Memory | None = None) -> None:
        super().__init__()
        self._url = parse_etcd_url(url)
        self._keys = Keys(self._url.prefix)
        self._memory = memory
        self._hello = tx.txn([], [tx.get(self._keys.incarnation)], [])
        try:
            self._gateway = Gateway(self._url, self._hello, self._greeted, self._interrupted)
        except OSError as e:
            raise WitnessUrlInvalid(url=url, why=f"its TLS files cannot be used: {e}") from e

    @property
    def memory(self) -> Memory | None:
        return self._memory

    def connect(self, timeout_s: float) -> None:
        self._greeted(self._gateway.read(self._hello, Deadline(timeout_s)))

    def read(self, uuid: str, timeout_s: float) -> Reading:
        keys = (self._keys.incarnation, self._keys.register(uuid), self._keys.opened(uuid))
        wanted = tx.txn([], [tx.get(key) for key in keys], [])
        outcome = self._gateway.read(wanted, Deadline(timeout_s))
        incarnation, row, opened = (outcome.branch.value(i) for i in range(3))
        known = self._judge(outcome, incarnation)
        return Reading(
            register=self._register(keys[1], row),
            opened=self._opened(keys[2], opened),
            incarnation=known.incarnation,
        )

    def swap(self, uuid: str, old: Register | None, new: Register, timeout_s: float) -> Swap:
        deadline = Deadline(timeout_s)
        key, value = self._keys.register(uuid), new.encode()
        expected = tx.is_absent(key) if old is None else tx.is_value(key, old.encode())
        incarnation = self._incarnation(deadline)
        wanted = tx.txn(
            [tx.is_value(self._keys.incarnation, incarnation.encode()), expected],
            [tx.put(key, value)],
            [tx.get(self._keys.incarnation), tx.get(key)],
        )
        outcome = self._gateway.write(wanted, deadline)
        if outcome.branch.succeeded:
            self._judge(outcome, incarnation.encode())
            return Swap.WON
        self._judge(outcome, outcome.branch.value(0))
        return Swap.WON if outcome.branch.value(1) == value else Swap.REFUSED

    def record_opened(
        self, uuid: str, generation: int, timeout_s: float, won: Register | None = None
    ) -> None:
        """The record only grows: an older generation than the recorded one changes nothing."""
        deadline = Deadline(timeout_s)
        key, value = self._keys.opened(uuid), encode_opened(generation)
        incarnation = self._incarnation(deadline)
        same = [tx.is_value(self._keys.incarnation, incarnation.encode())]
        if won is not None:
            same.append(tx.is_value(self._keys.register(uuid), won.encode()))
        grow = tx.txn([*same, tx.is_less(key, value)], [tx.put(key, value)], [tx.get(key)])
        wanted = tx.txn(
            [*same, tx.is_absent(key)],
            [tx.put(key, value)],
            [tx.get(self._keys.incarnation), tx.nested(grow)],
        )
        outcome = self._gateway.write(wanted, deadline)
        if outcome.branch.succeeded:
            self._judge(outcome, incarnation.encode())
            return
        self._judge(outcome, outcome.branch.value(0))
        inner = outcome.branch.inner(1)
        if not inner.succeeded and self._opened(key, inner.value(0)) < generation:
            why = "the register says something else by now: nothing was noted"
            raise WitnessUnavailable(store=self._keys.register(uuid), why=why)

    def close(self) -> None:
        self._gateway.close()

    def forget(self) -> None:
        self._memory = None

    def interrupt(self) -> None:
        self._gateway.interrupt()

    def _await_event(self, uuid: str, deadline: Deadline) -> None:
        known = self._memory
        revision = known.revision if known else 0
        body = tx.watch_request(self._keys.guest(uuid), revision + 1)
        self._gateway.watch(body, deadline.within(WATCH_LEG_S))

    def _incarnation(self, deadline: Deadline) -> str:
        """The one that a swap names: the first one seen. Refuses where there is no trust."""
        if self._memory is None:
            self.connect(deadline.remaining())
        if self._memory is None or self._memory.rewound:
            raise self._rewound(self._memory.rewound if self._memory else "nothing was seen")
        return self._memory.incarnation

    def _greeted(self, outcome: tx.Outcome) -> None:
        """Judge the first answer on a connection."""
        self._judge(outcome, outcome.branch.value(0))

    def _judge(self, outcome: tx.Outcome, incarnation: bytes | None) -> Memory:
        """Compare an answer with the memory, and remember it."""
        name = self._name(incarnation)
        if self._memory is None:
            self._memory = self._first(outcome, name)
            return self._memory
        why = self._memory.contradiction(name, outcome.cluster_id, outcome.revision)
        if why:
            self._memory = self._memory.distrusted(why)
            raise self._rewound(why)
        self._memory = self._memory.advanced(outcome.revision)
        return self._memory

    def _first(self, outcome: tx.Outcome, name: str | None) -> Memory:
        if name is None:
            raise WitnessNotInitialised(store=self._url, key=self._keys.incarnation)
        return Memory(name, outcome.cluster_id, outcome.revision)

    def _name(self, incarnation: bytes | None) -> str | None:
        if incarnation is None:
            return None
        try:
            return incarnation.decode("ascii")
        except UnicodeDecodeError as e:
            raise self._corrupt(self._keys.incarnation, incarnation) from e

    def _register(self, key: str, row: bytes | None) -> Register | None:
        try:
            return None if row is None else decode_register(row)
        except ValueError as e:
            raise self._corrupt(key, row or b"") from e

    def _opened(self, key: str, value: bytes | None) -> int:
        try:
            return 0 if value is None else decode_opened(value)
        except ValueError as e:
            raise self._corrupt(key, value or b"") from e

    def _rewound(self, why: str) -> WitnessRewound:
        return WitnessRewound(store=self._url, why=why)

    def _corrupt(self, key: str, value: bytes) -> WitnessCorrupt:
        return WitnessCorrupt(store=self._url, key=key, value=value[:100])
