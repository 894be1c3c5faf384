"""What a per-guest process leaves to its successor (``remus_ha.core.witness``).

``session`` in /run: a process crash keeps it, a host crash loses it. ``incarnation`` and ``seen``
on disk: a host crash keeps them as well. The witness driver's memory goes with the former. For a
store that has gone back in time (W9) the disk also has the newest register that was ``known`` and
the newest generation whose output was ``opened`` here: what this host reports then.
"""

from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.core.register import Identity, Register
from remus_ha.core.witness import Knowledge, Ledger
from remus_ha.witness.memory import Memory

_ROLES = ("primary", "backup")
_DURABLE = ("incarnation", "seen")


class Kept:
    """One role's and guest's knowledge of the register, across its processes."""

    def __init__(self, role: str, uuid: str, *, durable: bool = True) -> None:
        """Not ``durable`` where there is no witness: what was pretended is forgotten."""
        self._run = rundir.directory(role, uuid) / "state.json"
        self._uuid = uuid
        self._durable = durable
        self._written: Any = None

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
        found: dict[str, Any] = {"incarnation": ledger.incarnation, "seen": ledger.seen}
        if ledger.known is not None:
            found["known"] = ledger.known.as_dict()
        self._update(found)
        run = {"session": ledger.session, "memory": memory.encode() if memory else None}
        rundir.write_json(self._run, run)

    def keep_opened(self, generation: int) -> None:
        """The witness has noted that this generation opens its output, here."""
        self._update({"opened": generation})

    def _update(self, found: dict[str, Any]) -> None:
        """What only a report needs is not worth waiting for a disk."""
        before = self._written or {}
        now = {**before, **found}
        if not self._durable or now == before:
            return
        vital = any(now.get(key) != before.get(key) for key in _DURABLE)
        (rundir.write_json_durably if vital else rundir.write_json)(_path(self._uuid), now)
        self._written = now


def claimed(role: str, uuid: str) -> bool:
    """Whether an earlier process of this session had won its claim."""
    run: Any = rundir.read_json(rundir.directory(role, uuid) / "state.json") or {}
    return bool(run.get("session", 0))


def guests() -> list[str]:
    """UUIDs of the guests of whose register this host knows anything."""
    return sorted(path.stem for path in (rundir.STATE / "witness").glob("*.json"))


def knowledge(uuid: str) -> Knowledge:
    """What this host can report of a guest's register."""
    disk: Any = _read(uuid)
    known = disk.get("known")
    register = Register.from_dict(known) if known else None
    return Knowledge(disk.get("incarnation"), register, int(disk.get("opened", 0)))


def distrusted(uuid: str) -> str:
    """Why a process of this boot did not trust the store any more; empty when it did."""
    memories = (Kept(role, uuid).memory() for role in _ROLES)
    return next((m.rewound for m in memories if m is not None and m.rewound), "")


def distrust(uuid: str, incarnation: str) -> str:
    """Why no process here would trust a store that calls itself so; empty when one would."""
    before = knowledge(uuid).incarnation
    if before not in (None, incarnation):
        return f"incarnation is {incarnation}, {before} was known"
    return distrusted(uuid)


def accept(uuid: str, incarnation: str) -> None:
    """The store's new life counts from now on, for every process that begins here (W9)."""
    rundir.write_json_durably(_path(uuid), {**_read(uuid), "incarnation": incarnation})
    for role in _ROLES:
        path = rundir.directory(role, uuid) / "state.json"
        run: Any = rundir.read_json(path)
        if run and not rundir.is_running(role, uuid):
            rundir.write_json(path, {**run, "memory": None})


def _path(uuid: str) -> Path:
    return rundir.STATE / "witness" / f"{uuid}.json"


def _read(uuid: str) -> Any:
    return rundir.read_json(_path(uuid)) or {}
