"""Normal use of the register on a real etcd."""

import threading
import time
from pathlib import Path

import pytest

from remus_ha.witness import admin
from remus_ha.witness.base import Reading, Swap
from remus_ha.witness.deadline import Deadline
from remus_ha.witness.errors import WitnessCorrupt, WitnessNotInitialised, WitnessUnavailable
from remus_ha.witness.etcd import WATCH_LEG_S, EtcdWitness
from tests.functional.witness.conftest import Opener
from tests.functional.witness.guest import BACKUP, UUID, pair, sole, stopped
from tests.functional.witness.store import Etcd, cluster

T = 10.0  # a loaded machine may take long to sync a disk


def test_a_guest_without_row(open_witness: Opener) -> None:
    reading = open_witness().read(UUID, T)
    assert (reading.register, reading.opened) == (None, 0)


def test_a_life_from_protect_to_failover(open_witness: Opener) -> None:
    primary, backup = open_witness(), open_witness()
    assert primary.swap(UUID, None, sole(1), T) is Swap.WON
    assert primary.swap(UUID, sole(1), pair(2), T) is Swap.WON
    assert backup.read(UUID, T).register == pair(2)
    assert backup.swap(UUID, pair(2), sole(3, BACKUP), T) is Swap.WON
    assert primary.swap(UUID, pair(2), sole(3), T) is Swap.REFUSED
    assert primary.read(UUID, T).register == sole(3, BACKUP)


def test_a_swap_that_is_asked_twice_is_won_twice_and_written_once(open_witness: Opener) -> None:
    witness = open_witness()
    assert witness.swap(UUID, None, sole(1), T) is Swap.WON
    before = witness.memory
    assert witness.swap(UUID, None, sole(1), T) is Swap.WON
    assert witness.memory == before


@pytest.mark.parametrize("old", [None, pair(1), stopped(1), sole(2), sole(1, BACKUP)])
def test_another_value_than_expected_is_refused(open_witness: Opener, old: object) -> None:
    witness = open_witness()
    witness.swap(UUID, None, sole(1), T)
    assert witness.swap(UUID, old, sole(2, BACKUP), T) is Swap.REFUSED  # type: ignore[arg-type]
    assert witness.read(UUID, T).register == sole(1)


def test_a_missing_row_is_not_any_expected_value(open_witness: Opener) -> None:
    witness = open_witness()
    assert witness.swap(UUID, sole(1), sole(2), T) is Swap.REFUSED
    assert witness.read(UUID, T).register is None


def test_the_uuid_may_be_written_in_capitals(open_witness: Opener) -> None:
    witness = open_witness()
    witness.swap(UUID.upper(), None, sole(1), T)
    assert witness.read(UUID, T).register == sole(1)


def test_what_is_no_uuid_never_becomes_a_key(open_witness: Opener) -> None:
    with pytest.raises(ValueError, match="UUID"):
        open_witness().read("../incarnation", T)


def test_opened_only_grows(open_witness: Opener) -> None:
    witness = open_witness()
    for recorded, expected in [(3, 3), (3, 3), (2, 3), (9, 9), (10, 10), (9, 10)]:
        witness.record_opened(UUID, recorded, T)
        assert witness.read(UUID, T).opened == expected


def test_guests_and_prefixes_are_apart(etcd: Etcd, open_witness: Opener) -> None:
    one, other = open_witness(), UUID.replace("0f4f", "1f4f")
    one.swap(UUID, None, sole(1), T)
    assert one.read(other, T).register is None
    with pytest.raises(WitnessNotInitialised) as caught:
        open_witness(etcd.url.replace("/test", "/elsewhere")).read(UUID, T)
    assert caught.value.code == "WITNESS-003"
    assert "/elsewhere/incarnation" in str(caught.value)


@pytest.mark.parametrize("garbage", ["", "{}", "[" * 5000, '{"generation": 1}', "\udcff"])
def test_garbage_in_the_row_is_a_typed_error(
    etcd: Etcd, open_witness: Opener, garbage: str
) -> None:
    witness = open_witness()
    etcd.ctl("put", "--", f"/test/guest/{UUID}/register", garbage)
    with pytest.raises(WitnessCorrupt) as caught:
        witness.read(UUID, T)
    assert f"/test/guest/{UUID}/register" in str(caught.value)
    assert witness.swap(UUID, None, sole(1), T) is Swap.REFUSED


def test_a_late_note_does_not_speak_for_another_win(open_witness: Opener) -> None:
    """Sent for generation 1 and written when another has won: nothing is noted."""
    witness, late = open_witness(), open_witness()
    assert witness.swap(UUID, None, sole(1), T) is Swap.WON
    assert witness.swap(UUID, sole(1), sole(2), T) is Swap.WON
    with pytest.raises(WitnessUnavailable):
        late.record_opened(UUID, 1, T, won=sole(1))
    assert witness.read(UUID, T).opened == 0
    witness.record_opened(UUID, 2, T, won=sole(2))
    assert witness.read(UUID, T).opened == 2
    with pytest.raises(WitnessUnavailable):
        late.record_opened(UUID, 3, T, won=sole(3))
    assert witness.read(UUID, T).opened == 2


def test_garbage_in_the_record_is_a_typed_error(etcd: Etcd, open_witness: Opener) -> None:
    etcd.ctl("put", f"/test/guest/{UUID}/opened", "yesterday")
    with pytest.raises(WitnessCorrupt):
        open_witness().read(UUID, T)
    with pytest.raises(WitnessCorrupt):
        open_witness().record_opened(UUID, 4, T)


class TestWaitChange:
    def test_it_ends_with_the_change(self, open_witness: Opener) -> None:
        waiting, writing = open_witness(), open_witness()
        writing.swap(UUID, None, sole(1), T)
        waiting.REREAD_S = 5.0
        since = waiting.read(UUID, T)
        changed_at: list[float] = []

        def change() -> None:
            writing.swap(UUID, sole(1), sole(2), T)
            changed_at.append(time.monotonic())

        timer = threading.Timer(0.3, change)
        timer.start()
        seen = waiting.wait_change(UUID, since, 10)
        ended = time.monotonic()
        timer.join()
        took = ended - changed_at[0]
        assert seen.register == sole(2)
        assert took < waiting.REREAD_S / 2, "it looked now and then instead of being told"

    def test_a_change_before_the_wait_ends_it_at_once(self, open_witness: Opener) -> None:
        witness = open_witness()
        since = witness.read(UUID, T)
        witness.record_opened(UUID, 1, T)
        assert witness.wait_change(UUID, since, 10) == Reading(None, 1, since.incarnation)

    def test_a_change_between_its_read_and_its_watch_is_not_missed(
        self, open_witness: Opener, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waiting, writing = open_witness(), open_witness()
        since = waiting.read(UUID, T)
        changed_at: list[float] = []
        watch = waiting._gateway.watch

        def late(body: bytes, deadline: Deadline) -> None:
            writing.swap(UUID, None, sole(1), T)
            changed_at.append(time.monotonic())
            watch(body, deadline)

        monkeypatch.setattr(waiting._gateway, "watch", late)
        assert waiting.wait_change(UUID, since, 30).register == sole(1)
        assert time.monotonic() - changed_at[0] < WATCH_LEG_S / 2

    def test_without_a_change_it_ends_in_time(self, open_witness: Opener) -> None:
        witness = open_witness()
        since, start = witness.read(UUID, T), time.monotonic()
        assert witness.wait_change(UUID, since, 0.7) == since
        assert 0.6 < time.monotonic() - start < 0.7 + WATCH_LEG_S / 2

    def test_it_outlives_a_restart_of_the_store(self, etcd: Etcd, open_witness: Opener) -> None:
        waiting, writing = open_witness(), open_witness()
        since = waiting.read(UUID, T)

        def accident() -> None:
            etcd.kill()
            etcd.start()
            writing.swap(UUID, None, sole(1), T)

        timer = threading.Timer(0.3, accident)
        timer.start()
        seen = waiting.wait_change(UUID, since, 20)
        timer.join()
        assert seen.register == sole(1)


def test_a_member_that_is_down_or_hangs_is_passed_over(tmp_path: Path) -> None:
    with cluster(tmp_path, ("a", "b", "c")) as members:
        url = "etcd://" + ",".join(f"127.0.0.1:{m.port}" for m in members) + "/test"
        admin.initialise(url)
        witness = EtcdWitness(url)
        assert witness.swap(UUID, None, sole(1), 5) is Swap.WON
        members[0].kill()
        assert witness.read(UUID, 5).register == sole(1)
        assert witness.swap(UUID, sole(1), sole(2), 5) is Swap.WON
        members[0].start()
        members[1].freeze()
        assert witness.read(UUID, 5).register == sole(2)
        assert EtcdWitness(url).swap(UUID, sole(2), sole(3), 5) is Swap.WON
        members[1].thaw()
        witness.close()
