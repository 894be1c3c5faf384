"""The records of a guest's vifs through a session, and what the session before had left."""

from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.guest_vifs import GuestVifs
from remus_ha.hotplug import store
from remus_ha.hotplug.store import VifState

MAC = "00:16:3e:00:00:50"
CONFIG = {"nics": [{"devid": 0, "mac": MAC, "bridge": "br0", "script": "vif-custom"}]}


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(store, "STATE_ROOT", tmp_path / "state")


def state() -> str:
    record = store.read(MAC)
    return record.state if record else "none"


def test_a_session_that_ends_without_the_guest_leaves_no_trace() -> None:
    vifs = GuestVifs(CONFIG, "uuid", "one")
    vifs.shut()
    assert state() == VifState.SHUT
    vifs.drop()
    assert state() == "none"


def test_what_another_session_has_shut_stays_shut() -> None:
    """A host that has lost the guest becomes its backup for a while: an old copy still waits."""
    GuestVifs(CONFIG, "uuid", "one").shut()
    later = GuestVifs(CONFIG, "uuid", "two")
    later.shut()
    later.shut()  # a process that was started again
    later.drop()
    assert state() == VifState.SHUT


@pytest.mark.parametrize("our_script", [True, False])
def test_a_session_that_never_shut_anything_touches_nothing(our_script: bool) -> None:
    GuestVifs(CONFIG, "uuid", "one").shut()
    refused = GuestVifs(CONFIG, "uuid", "two")
    refused.drop()
    refused.leave(our_script=our_script)
    assert state() == VifState.SHUT


def test_the_guest_stays_here_with_its_own_script() -> None:
    vifs = GuestVifs(CONFIG, "uuid", "one")
    vifs.shut()
    vifs.leave(our_script=False)
    assert state() == "none"


def test_the_guest_stays_here_with_ours_which_knows_its_own() -> None:
    GuestVifs(CONFIG, "uuid", "one").shut()
    vifs = GuestVifs(CONFIG, "uuid", "two")
    vifs.shut()
    vifs.leave(our_script=True)
    record = store.read(MAC)
    assert record is not None
    assert (record.state, record.original, record.before) == (VifState.OPEN, "vif-custom", "")


def test_an_unreadable_record_stays_and_means_shut() -> None:
    vifs = GuestVifs(CONFIG, "uuid", "one")
    store.state_directory().mkdir(parents=True)
    (store.state_directory() / MAC).write_bytes(b"state=open\n\xff\n")
    vifs.shut()
    vifs.drop()
    assert state() == VifState.SHUT
