"""What an operator does to a store."""

from pathlib import Path

import pytest

from remus_ha.witness import admin
from remus_ha.witness.errors import WitnessNotInitialised, WitnessUnavailable
from tests.functional.witness.conftest import Opener
from tests.functional.witness.guest import UUID, sole, stopped
from tests.functional.witness.store import Etcd, running

T = 10.0  # a loaded machine may take long to sync a disk


def test_initialising_twice_keeps_the_incarnation(tmp_path: Path) -> None:
    with running(Etcd(tmp_path)) as etcd:
        with pytest.raises(WitnessNotInitialised):
            admin.inspect(etcd.url)
        with pytest.raises(WitnessNotInitialised):
            admin.new_incarnation(etcd.url)
        first, second = admin.initialise(etcd.url), admin.initialise(etcd.url)
        assert (first.created, second.created) == (True, False)
        assert first.incarnation == second.incarnation == admin.inspect(etcd.url).incarnation


def test_a_new_incarnation_is_made_once_per_expected_one(etcd: Etcd) -> None:
    first = admin.inspect(etcd.url).incarnation
    changed = admin.new_incarnation(etcd.url, expected=first)
    again = admin.new_incarnation(etcd.url, expected=first)
    assert changed.before == first
    assert again.before == again.after == changed.after


def test_rows_are_listed_shown_and_forgotten(etcd: Etcd, open_witness: Opener) -> None:
    witness = open_witness()
    witness.swap(UUID, None, stopped(4), T)
    witness.record_opened(UUID, 3, T)
    assert admin.guests(etcd.url) == (UUID,)
    shown = admin.show(etcd.url, UUID)
    assert (shown.register, shown.opened) == (stopped(4), 3)
    assert not admin.forget(etcd.url, UUID, sole(4))
    assert admin.guests(etcd.url) == (UUID,)
    assert admin.forget(etcd.url, UUID, stopped(4))
    assert admin.forget(etcd.url, UUID, stopped(4)), "asked again it is still gone"
    assert admin.guests(etcd.url) == ()
    assert admin.show(etcd.url, UUID).opened == 0


def test_a_store_that_is_down(etcd: Etcd) -> None:
    etcd.kill()
    for call in (admin.initialise, admin.inspect, admin.guests, admin.new_incarnation):
        with pytest.raises(WitnessUnavailable):
            call(etcd.url)
