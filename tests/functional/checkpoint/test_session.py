"""Whole sessions: primary and backup of one guest, with the accidents of a network and a guest."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.checkpoint import outflow, process
from remus_ha.checkpoint.quiesced import quiesced
from remus_ha.cmd import fenced
from remus_ha.control_socket import ask
from remus_ha.core import backup as backup_table
from remus_ha.core import primary as primary_table
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.core.witness import Ledger
from remus_ha.deciding import ACCEPT_STORE
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.errors import RestoreFailed
from remus_ha.netbuf.modes import Mode
from tests.functional.checkpoint.pair import NAME, SIZE, Pair
from tests.functional.hypervisor.fake_helper import notes
from tests.unit.hypervisor.xen.listing import UUID

P, B = primary_table.State, backup_table.State


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    yield made
    made.close()


def emits(pair: Pair) -> set[str]:
    """Whose copy may let new output out now."""
    who = set()
    if pair.buffer.mode in (Mode.PASSING, Mode.ABSENT) and pair.guest.life() is Life.RUNNING:
        who.add("a")
    opened = any("output is open" in e["text"] for e in pair.backup_process.journal.after(0))
    if opened and not pair.restore.destroyed:
        who.add("b")
    return who


def holder(pair: Pair) -> str:
    register = pair.store.register
    if register is None or register.kind is Kind.PAIR:
        return "undecided"
    return register.holder.host if register.holder else "nobody"


# --- while all is well


def test_output_is_released_only_for_epochs_that_the_backup_has_committed(pair: Pair) -> None:
    """G1, seen from both sides at every release."""
    seen: list[tuple[int, int, str]] = []

    def look(hook: str) -> None:
        if hook == "commit":
            committed = pair.backup_process._commits.committed
            kind = pair.store.register.kind.value if pair.store.register else "none"
            seen.append((pair.buffer.commits - 1, committed, kind))

    pair.buffer.look = look
    pair.start()
    pair.wait_protected(epochs=10)
    assert len(seen) >= 10
    for released, committed, kind in seen:
        assert committed == released
        assert kind == "pair"


def test_what_the_buffers_do_not_hold_is_an_event(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(pair.buffer), "weaknesses", ("ARP goes past",))
    pair.start()
    pair.wait(lambda: "ARP goes past" in [e["text"] for e in pair.status().get("events", [])])


def test_the_restoring_process_gets_whole_epochs_with_our_record_after_each(pair: Pair) -> None:
    pair.start()
    pair.wait_protected(epochs=5)
    expected = pair.expected_octets(epochs=5)
    pair.wait(lambda: len(pair.restore.path.read_bytes()) >= len(expected))
    assert pair.restore.path.read_bytes()[: len(expected)] == expected


def test_the_register_goes_from_me_to_pair_only_after_the_first_acknowledgement(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    assert [(who, r.generation, r.kind) for who, r in pair.store.history] == [
        ("a", 1, Kind.HOLDER),
        ("a", 2, Kind.PAIR),
    ]
    assert pair.store.opened == 1
    events = pair.story.of("postsuspend", "commit")
    assert events[:2] == ["postsuspend", "commit"]


def test_a_status_tells_what_an_operator_needs(pair: Pair) -> None:
    pair.start()
    pair.wait_protected(epochs=5)
    status = pair.status()
    assert status["generation"] == 2
    assert status["figures"]["checkpoints"] >= 4
    assert status["figures"]["octets"] == SIZE
    assert status["round_trip_ms"] > 0
    backup = pair.status("backup")
    assert (backup["state"], backup["generation"]) == ("protected", 1)
    assert backup["committed"] >= 5


# --- the first copy


def test_a_backup_that_takes_no_data_while_its_heartbeats_go_on(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than all pipes and sockets on the way hold: the copy stands still, and is given up."""
    monkeypatch.setattr(process, "STILL_S", 3 * pair.detect_ms / 1e3)
    monkeypatch.setattr(outflow, "PIPE_WANTED", 1 << 20)
    go = pair.root / "go"
    pair.scenario = f"""
        while not Path({str(go)!r}).exists():
            time.sleep(0.01)
        helper.remus(bytes({64 << 20}), {SIZE})
    """
    pair.start()
    pair.wait(lambda: bool(pair.restore.claims))  # the stream has begun
    pair.wires[1].silent = True
    go.touch()
    assert pair.primary.join() is P.ALONE
    assert any("backup takes nothing" in e["text"] for e in pair.primary_process.journal.after(0))
    assert pair.story.of("request") == []
    assert (holder(pair), emits(pair)) == ("a", {"a"})
    assert pair.backup.join() is not B.ALIVE


# --- on purpose


def test_unprotect(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.unprotect()
    assert pair.primary.join() is P.STOPPED
    assert pair.backup.join() is B.DESTROYED
    assert holder(pair) == "a"
    assert pair.guest.life() is Life.RUNNING
    assert (pair.buffer.mode, pair.buffer.released_at_teardown) == (Mode.ABSENT, True)
    assert emits(pair) == {"a"}
    assert (pair.primary.said(), pair.backup.said()) == (b"Q", b"Q")
    assert "cleaned" in notes(pair.root), "the save helper could switch dirty tracking off"


@pytest.mark.parametrize("delay_s", [0.0, 0.004, 0.008, 0.015])
def test_unprotect_at_any_moment_leaves_the_guest_running(pair: Pair, delay_s: float) -> None:
    """Also between the guest's taking of the request and its obedience."""
    pair.guest.obey_s = 0.4
    pair.start()
    pair.wait_protected(epochs=0)
    taken = len(pair.story.of("taken"))
    pair.wait(lambda: len(pair.story.of("taken")) > taken)
    time.sleep(delay_s)
    pair.unprotect()
    pair.primary.join()
    time.sleep(0.5)
    assert pair.guest.life() is Life.RUNNING
    assert emits(pair) == {"a"}


def test_a_guest_that_shuts_down_is_not_resurrected(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.guest.become(Life.POWEROFF)
    assert pair.primary.join() is P.STOPPED
    assert pair.backup.join() is B.DESTROYED
    assert holder(pair) == "nobody"
    assert pair.guest.life() is Life.GONE
    assert pair.restore.destroyed


@pytest.mark.parametrize("moment", ["postsuspend", "preresume", "commit"])
def test_a_guest_that_is_destroyed_at_any_moment_is_not_resurrected(
    pair: Pair, moment: str
) -> None:
    """Suspended, copied, or running again."""
    pair.start()
    pair.wait_protected()
    pair.buffer.look = lambda hook: pair.guest.destroy() if hook == moment else None
    assert pair.primary.join() is P.STOPPED
    assert pair.backup.join() is B.DESTROYED
    assert holder(pair) == "nobody"


def test_unprotect_does_not_make_the_backup_restore(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.unprotect()
    assert pair.primary.join() is P.STOPPED
    assert pair.backup.join() is B.DESTROYED
    assert pair.restore.process.wait(5) != 0, "the restoring process was killed, not let go"


def test_unprotect_with_a_slow_witness_is_not_a_failover(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.store.delay_s["a"] = 1.2
    pair.unprotect()
    assert pair.primary.join() is P.STOPPED
    assert pair.backup.join() is B.DESTROYED
    assert pair.guest.life() is Life.RUNNING


def test_a_guest_that_shuts_down_is_not_resurrected_while_the_witness_is_slow(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.store.delay_s["a"] = 1.2
    pair.guest.become(Life.POWEROFF)
    assert pair.primary.join() is P.STOPPED
    assert pair.backup.join() is B.DESTROYED


def test_a_reboot_is_done_by_us_after_the_swap(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.guest.become(Life.REBOOT)
    assert pair.primary.join() is P.ALONE
    assert pair.backup.join() is B.DESTROYED
    assert holder(pair) == "a"
    assert pair.story.of("created") == ["created web1"]
    assert pair.story.of("guest", "created")[-2:] == ["guest gone", "created web1"]


def test_a_guest_that_cannot_be_started_again_is_an_error_and_its_configuration_is_kept(
    pair: Pair,
) -> None:
    pair.can_create = False
    pair.start()
    pair.wait_protected()
    pair.guest.become(Life.REBOOT)
    assert pair.primary.join() is P.BROKEN
    assert holder(pair) == "a"
    assert pair.result()["state"] == "error"
    kept = rundir.STATE / f"{UUID}.cfg"
    assert f'uuid = "{UUID}"' in kept.read_text()
    assert any(str(kept) in event["text"] for event in pair.result()["events"])


def test_a_reboot_that_a_dead_process_had_begun_is_done_by_the_next_one(pair: Pair) -> None:
    known = known_to_be_its_own(pair)
    pair.guest.become(Life.GONE)
    rundir.STATE.mkdir(parents=True)
    (rundir.STATE / f"{UUID}.cfg").write_text("as it was to be created")
    pair.restart_primary(known)
    assert pair.primary.join() is P.ALONE
    assert pair.story.of("created") == ["created web1"]
    assert not (rundir.STATE / f"{UUID}.cfg").exists()


def test_a_guest_that_a_dead_process_had_started_again_is_not_started_twice(pair: Pair) -> None:
    known = known_to_be_its_own(pair)
    pair.guest.become(Life.GONE)
    pair.created = (8, NAME)
    rundir.STATE.mkdir(parents=True)
    (rundir.STATE / f"{UUID}.cfg").write_text("as it was created")
    pair.restart_primary(known)
    assert pair.primary.join() is P.ALONE
    assert pair.story.of("created") == []
    assert holder(pair) == "a"


def known_to_be_its_own(pair: Pair) -> Ledger:
    """The register, and what a process of host a has written down of it."""
    me = Identity("a", "nonce-a")
    pair.store.register = Register(2, Kind.HOLDER, me)
    pair.store.opened = 2
    return Ledger(me, Identity("b", "nonce-b"), session=2, incarnation="one", seen=True)


def test_until_the_first_suspend_xl_minds_the_guest(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reboot is xl's then: nothing is started or destroyed here."""
    monkeypatch.setattr(process, "is_minded", lambda name: name == NAME)
    pair.guest.become(Life.REBOOT)
    pair.start()
    assert pair.primary.join() is P.STOPPED
    assert pair.story.of("created") == []
    assert pair.guest.life() is Life.REBOOT, "not destroyed either"
    assert holder(pair) == "nobody"


def test_xl_minds_the_guest_also_after_the_death_of_a_process_that_had_not_begun(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is started again does not know how far the first one came; xl tells."""
    monkeypatch.setattr(process, "is_minded", lambda name: name == NAME)
    pair.guest.become(Life.REBOOT)
    pair.restart_primary(known_to_be_its_own(pair))
    assert pair.primary.join() is P.STOPPED
    assert pair.story.of("created") == []
    assert pair.guest.life() is Life.REBOOT, "not destroyed either"


@pytest.mark.parametrize("too_late", [False, True])
def test_xl_minds_the_guest_no_more_from_the_first_suspend_on(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, *, too_late: bool
) -> None:
    """Its monitor is ended before, unless it may be at work: then the reboot is xl's."""
    minding = {NAME}

    def relieve(name: str, has_ended: Callable[[], bool]) -> bool:
        assert pair.story.of("request") == []
        if too_late:
            pair.guest.become(Life.REBOOT)
        if has_ended():
            return False
        minding.remove(name)
        return True

    monkeypatch.setattr(process, "is_minded", lambda name: name in minding)
    monkeypatch.setattr(process, "relieve", relieve)
    pair.start()
    if not too_late:
        pair.wait_protected()
        pair.guest.become(Life.REBOOT)
    assert pair.primary.join() is (P.STOPPED if too_late else P.ALONE)
    assert pair.story.of("created") == ([] if too_late else ["created web1"])
    assert minding == ({NAME} if too_late else set())


def test_a_reboot_that_the_guest_does_not_want_is_its_end(pair: Pair) -> None:
    pair.on_reboot = "destroy"
    pair.start()
    pair.wait_protected()
    pair.guest.become(Life.REBOOT)
    assert pair.primary.join() is P.STOPPED
    assert holder(pair) == "nobody"
    assert pair.story.of("created") == []


def test_a_loop_that_stood_still_blames_nobody(pair: Pair) -> None:
    """It has asked nothing meanwhile, so it cannot have been answered."""
    pair.start()
    pair.wait_protected()
    pair.backup_process._detect_s = 60.0  # that one does hear nothing meanwhile
    still = [1.5 * pair.detect_ms / 1e3]
    pair.buffer.look = lambda hook: time.sleep(still.pop() if still else 0.0)
    seen = pair.status()["acked"]
    pair.wait(lambda: not still)
    pair.wait(lambda: pair.status().get("acked", -1) > seen + 5 or not pair.primary.running)
    assert pair.status()["state"] == "protected"


# --- the operator's word


def test_a_copy_kept_for_a_winner_that_died_before_it_opened_goes_on_at_the_operators_word(
    pair: Pair,
) -> None:
    pair.start()
    pair.wait_protected()
    pair.store.away.add("b")
    with pair.store.lock:
        register = pair.store.register
        assert register is not None
        pair.store.register = Register(register.generation + 1, Kind.HOLDER, register.backup)
    pair.cut()
    pair.wait(lambda: pair.status()["state"] == "paused")
    assert pair.guest.life() is not Life.RUNNING
    assert fenced.run(Namespace(domain=NAME, host="b")) == 0
    assert pair.primary.join() is P.ALONE
    assert pair.guest.life() is Life.RUNNING
    assert holder(pair) == "a"
    pair.store.away.clear()
    assert pair.backup.join() is B.DESTROYED


def test_the_operators_word_has_to_name_the_other_host(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    with pytest.raises(fenced.OtherPeer):
        fenced.run(Namespace(domain=NAME, host="c"))
    pair.wait_protected()


# --- without a witness (forced)


@pytest.fixture
def blind(pair: Pair) -> Pair:
    """Both sides only pretend to ask."""
    pair.witness = "none:"
    return pair


def test_without_a_witness_unprotect_does_not_start_the_copy(blind: Pair) -> None:
    blind.start()
    blind.wait_protected()
    blind.unprotect()
    assert blind.primary.join() is P.STOPPED
    assert blind.backup.join() is B.DESTROYED
    assert blind.guest.life() is Life.RUNNING


def test_without_a_witness_a_shutdown_is_not_undone(blind: Pair) -> None:
    blind.start()
    blind.wait_protected()
    blind.guest.become(Life.POWEROFF)
    assert blind.primary.join() is P.STOPPED
    assert blind.backup.join() is B.DESTROYED


def test_without_a_witness_a_dead_primary_is_survived(blind: Pair) -> None:
    blind.start()
    blind.wait_protected()
    blind.silence()
    assert blind.backup.join() is B.ALIVE


def test_without_a_witness_a_restarted_process_opens_again(blind: Pair) -> None:
    me = Identity("a", "nonce-a")
    blind.restart_primary(Ledger(me, Identity("b", "nonce-b"), session=2))
    assert blind.primary.join() is P.ALONE
    assert not (rundir.STATE / "witness").exists(), "what was pretended is not kept"


# --- the link


@pytest.mark.parametrize("accident", ["silence", "cut"])
def test_a_broken_link_leaves_exactly_one(pair: Pair, accident: str) -> None:
    pair.start()
    pair.wait_protected()
    getattr(pair, accident)()
    ended = (pair.primary.join(), pair.backup.join())
    assert ended in {(P.ALONE, B.DESTROYED), (P.DESTROYED, B.ALIVE)}
    winner = "a" if ended[0] is P.ALONE else "b"
    assert holder(pair) == winner
    assert emits(pair) == {winner}


@pytest.mark.parametrize(("unreachable_from", "winner"), [("a", "b"), ("b", "a")])
def test_who_reaches_the_witness_lives(pair: Pair, unreachable_from: str, winner: str) -> None:
    pair.start()
    pair.wait_protected()
    pair.store.away.add(unreachable_from)
    pair.silence()
    commits = pair.buffer.commits
    side = pair.primary if winner == "a" else pair.backup
    side.join()
    assert emits(pair) == {winner}
    if winner == "b":
        assert pair.buffer.commits <= commits + 1
        assert pair.buffer.mode in (Mode.CLOSED, Mode.OPEN), "held, by a primary that cannot ask"
    pair.store.away.clear()
    pair.primary.join()
    pair.backup.join()
    assert emits(pair) == {winner}
    if winner == "b":
        assert pair.guest.life() is Life.GONE
        assert pair.buffer.released_at_teardown is False


def test_without_any_witness_all_is_held_until_it_is_back(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.store.away |= {"a", "b"}
    pair.silence()
    pair.wait(lambda: pair.status().get("state") == "in_doubt")
    pair.wait(lambda: pair.status("backup").get("state") == "in_doubt")
    time.sleep(1.0)
    assert emits(pair) == set()
    assert pair.guest.life() is Life.RUNNING
    assert pair.buffer.mode in (Mode.CLOSED, Mode.OPEN)
    assert pair.restore.process.poll() is None, "nobody has let the restoring process go"
    pair.store.away.clear()
    pair.primary.join()
    pair.backup.join()
    assert len(emits(pair)) == 1
    assert emits(pair) == {holder(pair)}


def rewind(pair: Pair, row: Kind) -> Register:
    """The store is restored from a backup; what both hosts know of it.

    Of before the pair, or of the pair: for all that the store knows, somebody has left that since.
    """
    with pair.store.lock:
        newest = pair.store.register
        assert newest is not None
        if row is Kind.HOLDER:
            pair.store.register = Register(newest.generation - 1, row, newest.holder)
        pair.store.life = "two"
    return newest


def accept(role: str, life: str = "two") -> Any:
    request = {"command": ACCEPT_STORE, "incarnation": life}
    return ask(rundir.control_socket(role, UUID), UUID, request)["accepted"]


@pytest.mark.parametrize("row", [Kind.HOLDER, Kind.PAIR])
@pytest.mark.parametrize("first", ["primary", "backup"])
def test_a_restored_store_decides_once_it_is_accepted(pair: Pair, first: str, row: Kind) -> None:
    """Until then both hold, for ever (W9); then one lives."""
    pair.start()
    pair.wait_protected()
    newest = rewind(pair, row)
    pair.silence()
    for role in ("primary", "backup"):
        pair.wait(lambda role=role: "WITNESS-002" in str(pair.status(role).get("events")))
    assert emits(pair) == set()
    assert pair.restore.process.poll() is None, "nobody has let the restoring process go"
    with pair.store.lock:
        pair.store.register = newest
    assert accept(first)
    (pair.primary if first == "primary" else pair.backup).join()
    winner = "a" if first == "primary" else "b"
    assert emits(pair) == {winner} == {holder(pair)}
    assert accept("backup" if first == "primary" else "primary")
    pair.primary.join()
    pair.backup.join()
    assert emits(pair) == {winner}


def test_a_copy_whose_session_the_store_forgot_lives_at_the_operators_word(pair: Pair) -> None:
    """Its primary is dead; the newest that anybody knows is that this session began."""
    pair.start()
    pair.wait_protected()
    rewind(pair, Kind.HOLDER)
    pair.store.away.add("a")
    pair.silence()
    pair.wait(lambda: "WITNESS-002" in str(pair.status("backup").get("events")))
    assert accept("backup")
    path = rundir.control_socket("backup", UUID)

    def lives() -> bool:
        if pair.status("backup"):
            ask(path, UUID, {"command": "fenced"})
        return holder(pair) == "b"

    pair.wait(lives)
    assert pair.backup.join() is B.ALIVE


def test_a_protection_under_way_begins_anew_in_the_stores_next_life(pair: Pair) -> None:
    """Neither had noticed yet: the session is of the former life and ends, the guest goes on."""
    pair.start()
    pair.wait_protected()
    assert not accept("primary", "one"), "the life that it knows changes nothing"
    with pair.store.lock:
        pair.store.life = "two"
    assert accept("primary")
    assert pair.primary.join() is P.ALONE
    assert accept("backup")
    assert pair.backup.join() is B.DESTROYED
    assert emits(pair) == {"a"} == {holder(pair)}


def test_a_witness_that_is_away_at_the_first_acknowledgement(pair: Pair) -> None:
    """Held, unprotected, and then protected without anybody's doing."""
    pair.buffer.look = lambda hook: pair.store.away.add("a") if hook == "postsuspend" else None
    pair.start()
    pair.wait(lambda: pair.status().get("detail") == "pairing")
    time.sleep(1.0)
    assert pair.buffer.commits == 0
    assert pair.story.of("postsuspend") == ["postsuspend"], "no epoch follows before the pair"
    pair.buffer.look = lambda hook: None
    pair.store.away.clear()
    pair.wait_protected()


def test_a_lost_answer_to_the_pair_swap(pair: Pair) -> None:
    pair.buffer.look = lambda hook: pair.store.deaf.add("a") if hook == "postsuspend" else None
    pair.start()
    pair.wait(lambda: bool(pair.story.of("commit")))
    pair.buffer.look = lambda hook: None
    pair.wait_protected()
    assert [r.kind for _, r in pair.store.history] == [Kind.HOLDER, Kind.PAIR]


def test_a_link_that_breaks_before_the_pair_leaves_the_guest_as_it_was(pair: Pair) -> None:
    pair.buffer.look = lambda hook: pair.cut() if hook == "postsuspend" else None
    pair.start()
    assert pair.primary.join() is P.ALONE
    pair.backup.join()
    assert holder(pair) == "a"
    assert all(register.kind is not Kind.PAIR for _, register in pair.store.history)
    assert emits(pair) == {"a"}
    assert pair.guest.life() is Life.RUNNING


# --- the guest and the helper


def test_a_guest_that_suspends_long_after_the_session_has_ended(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.guest.obey_s = 3.0
    taken = len(pair.story.of("taken"))
    pair.wait(lambda: len(pair.story.of("taken")) > taken + 1)
    pair.cut()
    pair.store.away.add("b")
    assert pair.primary.join() is P.ALONE
    time.sleep(0.5)
    assert pair.guest.life() is Life.RUNNING
    assert pair.story.of("guest", "resume")[-2:] == ["guest suspended", "resume"]


def test_a_guest_that_a_disks_driver_has_paused_is_left_to_it(pair: Pair) -> None:
    """QEMU is not to see a write before it has answered; the driver lets the guest go on then."""
    pair.start()
    pair.wait_protected()
    guest = pair.guest
    control = SimpleNamespace(  # of its own: the primary closes its
        life=guest.life, pause=guest.pause, unpause=guest.unpause, close=lambda: None
    )
    with quiesced(UUID, lambda: control):
        pair.store.away.add("b")
        pair.cut()
        assert pair.primary.join() is P.ALONE
        assert guest.life() is Life.PAUSED
    assert guest.life() is Life.RUNNING


def test_a_guest_that_takes_the_request_and_never_suspends(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not served by waiting for ever: its output goes on, unprotected."""
    monkeypatch.setattr(process, "LATE_SUSPEND_S", 1.0)
    pair.start()
    pair.wait_protected()
    pair.guest.obey_s = None
    assert pair.primary.join() is P.ALONE
    assert pair.guest.life() is Life.RUNNING
    assert emits(pair) == {"a"}


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (True, "helper.epoch(numbered(1, 100)); import os; os._exit(1)"),
        (True, "helper.ask(SUSPEND); import os; os._exit(1)"),
        (True, "helper.ask(SUSPEND); helper.write(b'half'); helper.complete(-1, 12)"),
        (True, "helper.ask(SUSPEND); helper.ask(POSTCOPY); import os; os._exit(1)"),
        (False, "import os; os._exit(1)"),
    ],
)
def test_a_helper_that_fails_leaves_the_guest_running(pair: Pair, first: bool, then: str) -> None:
    """In or after the first copy, or in a later epoch: that one comes after an acknowledgement."""
    pair.scenario = "helper.epoch(numbered(0, 100)); " * first + then
    pair.start()
    ended = pair.primary.join()
    assert pair.guest.life() is (Life.RUNNING if ended is P.ALONE else Life.GONE)
    pair.backup.join()
    assert (pair.backup_process._commits.committed >= 0) is first
    assert emits(pair) == {holder(pair)}


# --- the copy


def test_a_restoring_process_that_dies_costs_the_guest_nothing(pair: Pair) -> None:
    pair.start()
    pair.wait_protected()
    pair.restore.end()
    assert pair.backup.join() is B.BROKEN
    assert pair.primary.join() is P.ALONE
    assert emits(pair) == {"a"}
    assert any(RestoreFailed.code in e["text"] for e in pair.primary_process.journal.after(0))


def test_a_copy_that_cannot_live_never_wins(pair: Pair) -> None:
    """The primary cannot ask, the backup promotes, and its restore fails."""
    pair.start()
    pair.wait_protected()
    pair.restore.fails = True
    pair.store.away.add("a")
    pair.silence()
    assert pair.backup.join() is B.BROKEN
    assert holder(pair) == "a"
    assert emits(pair) == set()
    pair.store.away.clear()
    assert pair.primary.join() is P.ALONE
    assert emits(pair) == {"a"}


def test_only_whole_epochs_reach_the_copy(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link goes in the middle of an epoch: what the copy is made of ends with our record."""
    monkeypatch.setattr(process, "_COPY_S", 2.0)
    pair.scenario = "for n in range(4): helper.epoch(b'x' * 5000 + LIBXC_CHECKPOINT)\n"
    pair.scenario += "helper.ask(SUSPEND); helper.write(b'y' * 900_000); helper.ask(POSTCOPY)\n"
    pair.scenario += "helper.stand_still()"
    pair.start()
    pair.wait_protected(epochs=3)
    pair.store.away.add("a")
    assert pair.backup.join() is B.ALIVE
    octets = pair.restore.path.read_bytes()
    assert pair.backup_process._commits.committed == 3
    assert octets.count(b"x" * 5000) == 4
    assert "destroy" not in " ".join(pair.story.events)
