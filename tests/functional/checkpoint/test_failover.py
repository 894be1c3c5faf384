"""A planned failover: the guest ends its last epoch here and goes on there, or goes on here."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.checkpoint import process
from remus_ha.checkpoint.moving import FailoverPaused, FailoverState, FailoverUnknown
from remus_ha.cmd import failover
from remus_ha.cmd.common import OrderRefused
from remus_ha.cmd.remus_ha import main
from remus_ha.control_socket import ask
from remus_ha.core import backup as backup_table
from remus_ha.core import primary as primary_table
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.hypervisor.base import Life
from remus_ha.receive.process import Backup
from tests.functional.checkpoint.pair import NAME, Pair
from tests.functional.checkpoint.test_session import emits, holder
from tests.unit.hypervisor.xen.listing import UUID

P, B = primary_table.State, backup_table.State


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    made = Pair(monkeypatch)
    yield made
    made.close()


@pytest.fixture
def protected(pair: Pair) -> Pair:
    pair.start()
    pair.wait_protected()
    return pair


def order(dry_run: bool = False) -> Any:
    path = rundir.control_socket("primary", UUID)
    return ask(path, UUID, {"command": "failover", "dry_run": dry_run})


def detail(pair: Pair) -> str:
    return str(pair.status().get("detail"))


def test_the_guest_goes_on_there_with_everything_it_did(protected: Pair) -> None:
    assert order() == {"accepted": True}
    assert protected.primary.join() is P.DESTROYED
    assert protected.backup.join() is B.ALIVE
    assert holder(protected) == "b"
    assert emits(protected) == {"b"}
    last = protected.backup_process._commits.committed
    assert protected.buffer.commits == last + 1, "the last epoch's output has left as well"
    assert protected.restore.path.read_bytes() == protected.expected_octets(last + 1)
    assert protected.result()["state"] == "failed_over"


def test_the_guest_here_never_runs_past_its_last_epoch(protected: Pair) -> None:
    lives: list[Life] = []
    resumed = protected.guest.resume_now

    def resume_now() -> None:
        resumed()
        if protected.primary_process._decider.state in (P.YIELDED, P.BEATEN, P.DESTROYED):
            lives.append(protected.guest.life())

    protected.guest.resume_now = resume_now  # type: ignore[method-assign]
    order()
    assert protected.primary.join() is P.DESTROYED
    assert set(lives) <= {Life.PAUSED}


def test_a_dry_run_changes_nothing(protected: Pair) -> None:
    before = protected.status()["acked"]
    assert order(dry_run=True) == {"accepted": True}
    protected.wait(lambda: protected.status()["acked"] > before + 2)
    assert detail(protected) == "protected"


# --- it does not come to it


def test_a_last_epoch_that_does_not_arrive_leaves_the_guest_here(protected: Pair) -> None:
    protected.wires[1].silent = True
    order()
    assert protected.primary.join() is P.ALONE
    assert holder(protected) == "a"
    assert protected.guest.life() is Life.RUNNING
    protected.wires[1].silent = False
    assert protected.backup.join() is B.DESTROYED
    assert emits(protected) == {"a"}


def test_a_copy_that_cannot_be_restored_gives_the_guest_back(protected: Pair) -> None:
    protected.restore.fails = True
    order()
    assert protected.primary.join() is P.ALONE
    assert protected.backup.join() is B.BROKEN
    assert emits(protected) == {"a"}


def test_a_backup_that_does_nothing_is_not_waited_for_for_ever(
    protected: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "TAKE_BACK_S", 1.0)
    monkeypatch.setattr(Backup, "_on_promote", lambda self, n: None)
    order()
    protected.wait(lambda: detail(protected) == "yielded")
    assert protected.primary.join() is P.ALONE
    assert protected.guest.life() is Life.RUNNING
    assert protected.backup.join() is B.DESTROYED
    assert emits(protected) == {"a"}


def test_a_backup_that_is_late_finds_the_guest_taken_back(
    protected: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its swap is on its way while the primary's wins: never two."""
    monkeypatch.setattr(process, "TAKE_BACK_S", 0.3)
    protected.store.delay_s["b"] = 0.4
    order()
    ended = (protected.primary.join(), protected.backup.join())
    assert ended in {(P.ALONE, B.DESTROYED), (P.DESTROYED, B.ALIVE)}
    assert emits(protected) == {"a" if ended[0] is P.ALONE else "b"}


def test_without_an_answer_of_the_witness_nobody_opens(protected: Pair) -> None:
    protected.store.away.update({"a", "b"})
    order()
    protected.wait(lambda: detail(protected) == "yielded")
    protected.wait(lambda: protected.status("backup").get("detail") == "in_doubt")
    assert emits(protected) == set()
    protected.store.away.clear()
    assert protected.primary.join() is P.DESTROYED
    assert protected.backup.join() is B.ALIVE
    assert emits(protected) == {"b"}


def test_who_cannot_read_the_result_keeps_the_copy(protected: Pair) -> None:
    protected.store.away.add("a")
    order()
    assert protected.backup.join() is B.ALIVE
    assert detail(protected) == "yielded"
    assert protected.guest.life() in (Life.PAUSED, Life.SUSPENDED)
    protected.store.away.clear()
    assert protected.primary.join() is P.DESTROYED


def test_an_operator_who_changes_his_mind(protected: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wins, it is one of the two."""
    monkeypatch.setattr(Backup, "_on_promote", lambda self, n: None)
    order()
    protected.wait(lambda: detail(protected) == "yielded")
    protected.unprotect()
    assert protected.primary.join() is P.STOPPED
    assert protected.guest.life() is Life.RUNNING
    assert protected.backup.join() is B.DESTROYED
    assert emits(protected) == {"a"}


def test_a_process_that_dies_while_the_backup_takes_over(pair: Pair) -> None:
    """Its successor finds the guest kept, and that another has it."""
    pair.guest._life = Life.PAUSED  # as the guardian leaves one that was kept
    pair.store.register, pair.store.opened = Register(4, Kind.HOLDER, Identity("b", "nonce-b")), 4
    known = primary_ledger(pair)
    pair.restart_primary(known)
    assert pair.primary.join() is P.DESTROYED
    assert pair.guest.life() is Life.GONE


def test_a_process_that_dies_before_the_backup_takes_over(pair: Pair) -> None:
    pair.guest._life = Life.PAUSED
    known = primary_ledger(pair)
    pair.store.register = Register(3, Kind.PAIR, known.me, known.peer)
    pair.restart_primary(known)
    assert pair.primary.join() is P.ALONE
    assert pair.guest.life() is Life.RUNNING
    assert holder(pair) == "a"


def primary_ledger(pair: Pair) -> Any:
    from tests.functional.checkpoint.test_session import known_to_be_its_own

    register, opened = pair.store.register, pair.store.opened
    known = known_to_be_its_own(pair)
    if register is not None:
        pair.store.register, pair.store.opened = register, opened
    return known


# --- refused


@pytest.mark.parametrize(
    ("arrange", "error"),
    [
        (lambda pair: setattr(pair.primary_process._peer, "features", ()), FailoverUnknown),
        (lambda pair: pair.guest.pause(), FailoverPaused),
    ],
)
def test_what_cannot_be_moved_is_not_touched(
    protected: Pair, arrange: Callable[[Pair], None], error: type[Exception]
) -> None:
    arrange(protected)
    assert order()["error"]["code"] == error.code  # type: ignore[attr-defined]
    assert detail(protected) == "protected"
    protected.guest.unpause()


def test_what_is_not_protected_yet_is_not_moved(pair: Pair) -> None:
    pair.store.away.add("a")
    pair.start()
    pair.wait(lambda: pair.status() != {})
    assert order()["error"]["code"] == FailoverState.code


def test_what_has_no_backup_is_not_moved(pair: Pair) -> None:
    pair.start_blackhole()
    pair.wait(lambda: detail(pair) == "protected")
    assert order()["error"]["code"] == FailoverState.code


# --- the command


@pytest.fixture
def session(protected: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The command finds the pair's session, and its witness."""
    monkeypatch.setattr(failover, "is_none", lambda url: False)
    monkeypatch.setattr(failover, "open_witness", lambda url, **_: protected._driver("a"))
    return protected


def test_the_command_says_where_the_guest_runs(
    session: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["failover", "--dry-run", NAME]) == 0
    assert "can be moved to b" in capsys.readouterr().out
    assert detail(session) == "protected"
    assert main(["failover", NAME]) == 0
    assert f"{NAME} runs on b" in capsys.readouterr().out


def test_the_command_says_that_it_did_not_happen(
    session: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    session.restore.fails = True
    assert main(["failover", NAME]) == 1
    assert "PROTECT-025" in capsys.readouterr().err


def test_the_command_stops_no_guest_for_a_witness_that_is_away(
    session: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    session.store.away.add("a")
    assert main(["failover", NAME]) == 1
    assert "WITNESS" in capsys.readouterr().err
    session.store.away.clear()
    assert detail(session) == "protected"


def test_the_command_stops_no_guest_that_the_register_gives_to_another(session: Pair) -> None:
    pair = session.store.register
    session.store.register = Register(9, Kind.HOLDER, Identity("c", "other"))
    with pytest.raises(failover.FailoverWitness):
        failover.check_register(session.primary_process._session)
    session.store.register = pair


def test_a_refusal_of_the_process_is_the_commands(
    session: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    session.guest.pause()
    assert main(["failover", NAME]) == 1
    assert OrderRefused.code in capsys.readouterr().err
    session.guest.unpause()
