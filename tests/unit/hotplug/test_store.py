"""Records: which one counts, what survives a crash of the host."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.hotplug import store
from remus_ha.hotplug.errors import BadRecord
from remus_ha.hotplug.store import VifRecord, VifState

MAC = "00:16:3e:00:00:50"
SHUT = VifRecord(MAC, VifState.SHUT, "br0", "/opt/my-vif", "uuid-a", "s1")
OPEN = replace(SHUT, state=VifState.OPEN)


@pytest.fixture(autouse=True)
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Directories of the test's own; the value is a crash of the host: /run is empty."""
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(store, "STATE_ROOT", tmp_path / "state")
    return lambda: shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_shut_is_still_shut_after_a_crash_of_the_host(roots: Callable[[], None]) -> None:
    store.write(SHUT)
    assert store.read(MAC) == SHUT
    roots()
    assert store.read(MAC) == SHUT


def test_open_is_shut_again_after_a_crash_of_the_host(roots: Callable[[], None]) -> None:
    store.write(SHUT)
    store.write(OPEN)
    assert store.read(MAC) == OPEN
    roots()
    assert store.read(MAC) == SHUT


def test_shutting_overrides_what_this_boot_opened() -> None:
    store.write(OPEN)
    store.write(SHUT)
    assert store.read(MAC) == SHUT


def test_what_is_kept_survives_whatever_it_says(roots: Callable[[], None]) -> None:
    store.write(SHUT)
    store.keep(OPEN)
    roots()
    assert store.read(MAC) == OPEN


def test_forgetting_is_complete_and_idempotent() -> None:
    store.write(SHUT)
    store.write(OPEN)
    store.forget(MAC.upper())
    store.forget(MAC)
    assert store.read(MAC) is None
    assert store.records() == ()


def test_all_records_are_listed_once() -> None:
    other = replace(SHUT, mac="00:16:3e:00:00:51")
    for record in (SHUT, OPEN, other):
        store.write(record)
    (store.state_directory() / "note").write_text("not a record")
    assert store.records() == (OPEN, other)


@pytest.mark.parametrize(
    "bad",
    [
        replace(SHUT, mac="../../etc/passwd"),
        replace(SHUT, mac="00:16:3E:00:00:50"),
        replace(SHUT, state="ajar"),
        replace(SHUT, bridge="br0\nstate=open"),
    ],
)
def test_what_does_not_fit_is_not_written(bad: VifRecord) -> None:
    with pytest.raises(BadRecord):
        store.write(bad)
    assert store.records() == ()


def test_an_unreadable_record_is_an_error_and_not_none() -> None:
    store.write(SHUT)
    (store.state_directory() / MAC).write_text("bridge=br0\n")
    with pytest.raises(BadRecord) as refused:
        store.read(MAC)
    assert refused.value.code == "VIF-005"


def test_a_failed_write_leaves_the_former_record(monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(SHUT)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(OPEN)
    assert store.read(MAC) == SHUT
    assert [r.state for r in store.records()] == ["shut"]
