"""A store that was restored from a backup: what both hosts know counts, and nothing before (W9)."""

import socket
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from remus_ha import kept, rundir
from remus_ha.cmd import witness_accept
from remus_ha.cmd.remus_ha import main
from remus_ha.core import primary
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.table import Machine
from remus_ha.core.witness import Knowledge, Ledger
from remus_ha.deciding import Decider
from remus_ha.kept import Kept
from remus_ha.loop import Loop
from remus_ha.witness import admin, rewound
from remus_ha.witness.asker import Asker
from remus_ha.witness.errors import NotReported, OtherStore, ReportsDiffer, SameLife
from remus_ha.witness.etcd import EtcdWitness
from remus_ha.witness.memory import Memory
from tests.functional.witness.guest import UUID
from tests.functional.witness.store import Etcd

A, B = Identity("a", "1"), Identity("b", "2")
SOLE = Register(8, Kind.HOLDER, A)
PAIR = Register(9, Kind.PAIR, A, B)
WON = Register(10, Kind.HOLDER, B)


class Host:
    """One host's directories and name, while it is the one that runs a command."""

    def __init__(self, name: str, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.name, self._root, self._patch = name, root, patch

    def step_in(self) -> "Host":
        self._patch.setattr(rundir, "ROOT", self._root / self.name / "run")
        self._patch.setattr(rundir, "STATE", self._root / self.name / "state")
        self._patch.setattr(socket, "gethostname", lambda: self.name)
        return self

    def knows(
        self, role: str, register: Register, incarnation: str, opened: int, store: str
    ) -> None:
        me, peer = (A, B) if self.name == "a" else (B, A)
        ledger = Ledger(me, peer, 8, register, incarnation=incarnation, seen=True)
        keeper = Kept(role, UUID, store=store)
        keeper.keep(ledger, None)
        keeper.keep_opened(opened)

    def accepts(
        self, url: str, *, without: tuple[str, ...] = (), uuids: tuple[str, ...] = ()
    ) -> int:
        options = Namespace(url=url, uuids=list(uuids), without=list(without), timeout=0.2)
        return witness_accept.run(options)


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Host, Host]:
    return Host("a", tmp_path, monkeypatch), Host("b", tmp_path, monkeypatch)


def restored(etcd: Etcd, a: Host, b: Host) -> tuple[str, str]:
    """The store says what it said before b won; its former life's name and its new one's."""
    former = admin.inspect(etcd.url).incarnation
    a.step_in().knows("primary", PAIR, former, 8, etcd.url)
    b.step_in().knows("backup", WON, former, 10, etcd.url)
    rewound.report(etcd.url, UUID, "nobody", Knowledge(known=SOLE, opened=8))
    return former, admin.new_incarnation(etcd.url).after


def test_the_newest_value_that_a_host_knows_counts(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    _, now = restored(etcd, a, b)
    a.step_in()
    with pytest.raises(NotReported):
        a.accepts(etcd.url)
    found = rewound.look(etcd.url, UUID)
    assert (found.register, found.hosts) == (PAIR, {"a"})
    assert kept.knowledge(UUID).incarnation != now, "nothing is accepted before both have reported"
    assert b.step_in().accepts(etcd.url) == 0
    assert a.step_in().accepts(etcd.url) == 0
    found = rewound.look(etcd.url, UUID)
    assert (found.register, found.opened, found.hosts) == (WON, 10, {"a", "b"})
    for host in (a, b):
        host.step_in()
        assert kept.knowledge(UUID).incarnation == now
        assert not kept.distrust(UUID, now)


def test_a_host_that_is_off_is_not_waited_for(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    _, now = restored(etcd, a, b)
    assert b.step_in().accepts(etcd.url, without=("a",)) == 0
    assert kept.knowledge(UUID).incarnation == now
    assert rewound.look(etcd.url, UUID).register == WON


def test_a_uuid_may_be_written_in_any_way(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    _, now = restored(etcd, a, b)
    b.step_in()
    words = ["witness", "accept", "--without", "a", etcd.url, UUID.upper()]
    assert main(words) == 0
    assert kept.knowledge(UUID).incarnation == now
    assert rewound.look(etcd.url, UUID).register == WON, "what is known of it was found"


def test_a_new_process_trusts_the_store_again(
    etcd: Etcd, hosts: tuple[Host, Host], open_witness: Any
) -> None:
    a, b = hosts
    former, now = restored(etcd, a, b)
    a.step_in()
    assert former in kept.distrust(UUID, now), "before: the store is not the one that was known"
    b.step_in().accepts(etcd.url, without=("a",))
    ledger = Kept("primary", UUID).ledger(B, A, same_session=False)
    reading = open_witness(memory=Kept("primary", UUID).memory()).read(UUID, 10.0)
    assert ledger.incarnation == reading.incarnation == now


def test_two_values_of_one_generation_are_not_mixed(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    former = admin.inspect(etcd.url).incarnation
    theirs = Register(10, Kind.HOLDER, A)
    a.step_in().knows("primary", theirs, former, 10, etcd.url)
    b.step_in().knows("backup", WON, former, 10, etcd.url)
    admin.new_incarnation(etcd.url)
    with pytest.raises(NotReported):
        a.step_in().accepts(etcd.url)
    with pytest.raises(ReportsDiffer):
        b.step_in().accepts(etcd.url)
    found = rewound.look(etcd.url, UUID)
    assert found.register == theirs
    assert "b" not in found.hosts


def test_what_a_host_says_late_changes_nothing(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    """An operator has decided without it, and the guest goes on elsewhere."""
    a, b = hosts
    restored(etcd, a, b)
    assert a.step_in().accepts(etcd.url, without=("b",)) == 0
    found = rewound.look(etcd.url, UUID)
    assert (found.register, found.hosts) == (PAIR, {"a", "b"})
    assert b.step_in().accepts(etcd.url) == 0
    found = rewound.look(etcd.url, UUID)
    assert (found.register, found.opened) == (PAIR, 8), "what b had won was given up"
    assert kept.knowledge(UUID).known == PAIR, "and is not said to a later life either"


def test_an_operator_decides_between_two_values_of_one_generation(
    etcd: Etcd, hosts: tuple[Host, Host]
) -> None:
    a, b = hosts
    former = admin.inspect(etcd.url).incarnation
    a.step_in().knows("primary", Register(10, Kind.HOLDER, A), former, 10, etcd.url)
    b.step_in().knows("backup", WON, former, 10, etcd.url)
    admin.new_incarnation(etcd.url)
    with pytest.raises(NotReported):
        a.step_in().accepts(etcd.url)
    assert b.step_in().accepts(etcd.url, without=("a",)) == 0
    assert rewound.look(etcd.url, UUID).register == Register(11, Kind.HOLDER, B)
    assert a.step_in().accepts(etcd.url) == 0
    assert rewound.look(etcd.url, UUID).register == Register(11, Kind.HOLDER, B)


def test_guests_of_another_store_are_left_alone(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, _ = hosts
    former = admin.inspect(etcd.url).incarnation
    a.step_in().knows("primary", PAIR, former, 8, "etcd://elsewhere")
    admin.new_incarnation(etcd.url)
    with pytest.raises(OtherStore):
        a.accepts(etcd.url)
    assert rewound.look(etcd.url, UUID).hosts == frozenset()
    assert kept.knowledge(UUID).incarnation == former
    assert a.accepts(etcd.url, without=("b",), uuids=(UUID,)) == 0


def test_the_same_store_in_other_words(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, _ = hosts
    former = admin.inspect(etcd.url).incarnation
    spelled = etcd.url.replace("://", "://10.0.0.1,")
    a.step_in().knows("primary", PAIR, former, 8, spelled)
    now = admin.new_incarnation(etcd.url).after
    assert a.accepts(etcd.url, without=("b",)) == 0
    assert kept.knowledge(UUID).incarnation == now


def test_a_store_without_a_new_life_is_not_accepted(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    """Swaps of the former life could still win there."""
    a, b = hosts
    _, now = restored(etcd, a, b)
    a.step_in().knows("primary", PAIR, now, 8, etcd.url)
    distrustful = Memory(now, "cluster", 5).distrusted("revision is 3, 5 was seen before")
    Kept("primary", UUID, store=etcd.url).keep(
        Ledger(A, B, 8, PAIR, incarnation=now, seen=True), distrustful
    )
    with pytest.raises(SameLife):
        a.accepts(etcd.url)


def test_a_guest_is_accepted_again_without_harm(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    restored(etcd, a, b)
    b.step_in().accepts(etcd.url, without=("a",))
    before = rewound.look(etcd.url, UUID)
    assert b.accepts(etcd.url, without=("a",)) == 0
    after = rewound.look(etcd.url, UUID)
    assert (after.register, after.opened, after.hosts) == (WON, 10, before.hosts)


def test_distrust_is_written_down_for_a_successor(etcd: Etcd, hosts: tuple[Host, Host]) -> None:
    """A store that has gone back in time grows past what was seen, which makes nothing good."""
    hosts[0].step_in()
    driver = EtcdWitness(etcd.url)
    driver.connect(10.0)
    keeper, loop = Kept("primary", UUID, store=etcd.url), Loop()
    again: list[str] = []
    decider = Decider(
        loop=loop,
        machine=Machine(primary.TABLE, primary.State.NEW),
        events=primary.Event,
        facts=primary.Facts,
        deeds={"ask_again_later": lambda: again.append("asked")},
        asker=Asker(driver, 10.0),
        uuid=UUID,
        ledger=keeper.ledger(A, B, same_session=False),
        keep=lambda ledger: keeper.keep(ledger, driver.memory),
        keep_opened=keeper.keep_opened,
        log=lambda text: None,
    )
    admin.new_incarnation(etcd.url)
    decider.feed(primary.Event.START)
    assert loop.until(lambda: bool(again), time.monotonic() + 10.0)
    decider.close()
    assert "incarnation is" in kept.distrusted(UUID)
    memory = Kept("primary", UUID).memory()
    assert memory is not None
    assert memory.rewound
