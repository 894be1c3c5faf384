"""What a per-guest process leaves to its successor (``remus_ha.core.witness``).

``session`` in /run: a process crash keeps it, a host crash loses it. ``incarnation`` and ``seen``
on disk: a host crash keeps them as well. The witness driver's memory goes with the former.

For a store that has gone back in time (W9) a file of its own has what this host can report then:
nothing waits for that one, and no guest is given up for it.
"""

import contextlib
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.core.register import Identity, Register
from remus_ha.core.witness import Knowledge, Ledger
from remus_ha.exceptions import RemusError
from remus_ha.witness.errors import WitnessRewound
from remus_ha.witness.memory import Memory


class Kept:
    """One role's and guest's knowledge of the register, across its processes."""

    def __init__(self, role: str, uuid: str, *, store: str = "", durable: bool = True) -> None:
        """``store`` is the witness's URL.

        Not ``durable`` where there is no witness: what was pretended is forgotten.
        """
        self._run = rundir.directory(role, uuid) / "state.json"
        self._uuid = uuid
        self._store = store
        self._durable = durable
        self._written: Any = None
        self._reported: Any = None

    def ledger(self, me: Identity, peer: Identity, *, same_session: bool) -> Ledger:
        """What the process before knew; ``same_session`` False for a new one."""
        disk: Any = _read(self._uuid) if self._durable else {}
        self._written = disk
        run: Any = (rundir.read_json(self._run) or {}) if same_session else {}
        return Ledger(
            me,
            peer,
            session=int(run.get("session", 0)),
            incarnation=disk.get("incarnation"),
            seen=bool(disk.get("seen", False)),
        )

    def memory(self) -> Memory | None:
        """The witness driver's, of this boot."""
        text = (rundir.read_json(self._run) or {}).get("memory")
        return Memory.decode(text) if text else None

    def begin(self) -> None:
        """A new session of this boot: the driver's memory stays, the session is forgotten."""
        memory = self.memory()
        rundir.write_json(self._run, {"memory": memory.encode()} if memory else {})

    def keep(self, ledger: Ledger, memory: Memory | None) -> None:
        """Write down what changed; before any request that rests on it is sent."""
        durable = {"incarnation": ledger.incarnation, "seen": ledger.seen}
        if self._durable and durable != self._written:
            rundir.write_json_durably(_path(self._uuid), durable)
            self._written = durable
        run = {"session": ledger.session, "memory": memory.encode() if memory else None}
        rundir.write_json(self._run, run)
        if ledger.known is not None:
            self.keep_known(ledger.known, ledger.peer)

    def keep_known(self, register: Register, peer: Identity | None) -> None:
        """The newest value that this host has heard of, and who else may know more."""
        self._report({"known": register.as_dict(), "peer": peer.host if peer else ""})

    def keep_opened(self, generation: int) -> None:
        """The witness has noted that this generation opens its output, here."""
        self._report({"opened": generation})

    def _report(self, found: dict[str, Any]) -> None:
        if not self._durable:
            return
        if self._reported is None:
            self._reported = _read_report(self._uuid)
        now = {**self._reported, **found, "store": self._store}
        if now != self._reported:
            with contextlib.suppress(OSError):  # a full disk is no reason to give a guest up
                rundir.write_json(_report_path(self._uuid), now)
                self._reported = now


def claimed(role: str, uuid: str) -> bool:
    """Whether an earlier process of this session had won its claim."""
    run: Any = rundir.read_json(rundir.directory(role, uuid) / "state.json") or {}
    return bool(run.get("session", 0))


def guests() -> list[str]:
    """UUIDs of the guests of whose register this host knows anything."""
    return sorted(path.stem for path in _path("any").parent.glob("*.json"))


def store_of(uuid: str) -> str:
    """The URL of the witness by which a guest was protected here last; empty: not known."""
    return str(_read_report(uuid).get("store", ""))


def knowledge(uuid: str) -> Knowledge:
    """What this host can report of a guest's register."""
    report: Any = _read_report(uuid)
    known = report.get("known")
    return Knowledge(
        incarnation=_read(uuid).get("incarnation"),
        known=Register.from_dict(known) if known else None,
        opened=int(report.get("opened", 0)),
        peer=str(report.get("peer", "")),
    )


def distrusted(uuid: str) -> str:
    """Why a process of this boot did not trust the store any more; empty when it did."""
    memories = (Kept(role, uuid).memory() for role in rundir.ROLES)
    return next((m.rewound for m in memories if m is not None and m.rewound), "")


def distrust(uuid: str, incarnation: str) -> str:
    """Why no process here would trust a store that calls itself so; empty when one would."""
    before = _read(uuid).get("incarnation")
    if before not in (None, incarnation):
        return f"incarnation is {incarnation}, {before} was known"
    return distrusted(uuid)


def obstacles(uuid: str, store: str, incarnation: str) -> list[RemusError]:
    """Whether a process that begins here would hold for ever, should it have to decide."""
    why = distrust(uuid, incarnation)
    return [WitnessRewound(store=store, why=why)] if why else []


def accept(uuid: str, store: str, now: Knowledge) -> None:
    """The store's life that ``now`` names counts, for every process that begins here (W9).

    What was known of a former life is not reported any more.
    """
    rundir.write_json_durably(_path(uuid), {"incarnation": now.incarnation, "seen": True})
    known = now.known.as_dict() if now.known else None
    report = {"known": known, "opened": now.opened, "peer": now.peer, "store": store}
    rundir.write_json(_report_path(uuid), report)
    for role in rundir.ROLES:
        path = rundir.directory(role, uuid) / "state.json"
        run: Any = rundir.read_json(path)
        if run and not rundir.is_running(role, uuid):  # one that lives keeps its own
            rundir.write_json(path, {**run, "memory": None})


def _path(uuid: str) -> Path:
    return rundir.STATE / "witness" / f"{uuid}.json"


def _report_path(uuid: str) -> Path:
    return rundir.STATE / "known" / f"{uuid}.json"


def _read(uuid: str) -> Any:
    return rundir.read_json(_path(uuid)) or {}


def _read_report(uuid: str) -> Any:
    return rundir.read_json(_report_path(uuid)) or {}
