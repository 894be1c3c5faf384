"""What a per-guest process leaves to its successor (``remus_ha.core.witness``).

``session`` in /run: a process crash keeps it, a host crash loses it. ``incarnation`` and ``seen``
on disk: a host crash keeps them as well. The witness driver's memory goes with the former.
"""

from typing import Any

from remus_ha import rundir
from remus_ha.core.register import Identity
from remus_ha.core.witness import Ledger
from remus_ha.witness.memory import Memory


class Kept:
    """One role's and guest's knowledge of the register, across its processes."""

    def __init__(self, role: str, uuid: str, *, durable: bool = True) -> None:
        """Not ``durable`` where there is no witness: what was pretended is forgotten."""
        self._run = rundir.directory(role, uuid) / "state.json"
        self._disk = rundir.STATE / "witness" / f"{uuid}.json"
        self._durable = durable
        self._written: Any = None
        self._memory: Memory | None = None

    def ledger(self, me: Identity, peer: Identity, *, same_session: bool) -> Ledger:
        """What the process before knew; ``same_session`` False for a new one."""
        disk: Any = (rundir.read_json(self._disk) or {}) if self._durable else {}
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
            rundir.write_json_durably(self._disk, durable)
            self._written = durable
        run = {"session": ledger.session, "memory": memory.encode() if memory else None}
        rundir.write_json(self._run, run)


def claimed(role: str, uuid: str) -> bool:
    """Whether an earlier process of this session had won its claim."""
    run: Any = rundir.read_json(rundir.directory(role, uuid) / "state.json") or {}
    return bool(run.get("session", 0))
