"""What ``remus-ha cleanup`` does with devices that no session knows."""

from argparse import Namespace
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.cmd import cleanup
from remus_ha.netbuf.sweep import Leftover

GONE = Leftover("rh7.0", None, None, "uuid", "session", plugged=True, connected=False)
ORPHAN = Leftover(None, "vif7.0", 7, "", "", plugged=False, connected=True)


@pytest.fixture
def removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Leftover]:
    """What was removed, of the devices of a host whose domain 7 lives."""
    found: list[Leftover] = []
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    monkeypatch.setattr(cleanup, "remove", lambda leftover, release: found.append(leftover))
    monkeypatch.setattr(cleanup, "_is_dead", lambda leftover: leftover.domid is None)
    return found


def test_what_a_dead_domain_left_is_removed(
    removed: list[Leftover], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "find_leftovers", lambda: (GONE,))
    assert cleanup.run(Namespace(timeout=1.0)) == 0
    assert removed == [GONE]


def test_what_holds_a_living_guest_is_named_and_stays(
    removed: list[Leftover], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "find_leftovers", lambda: (ORPHAN, GONE))
    with pytest.raises(cleanup.Unclaimed, match=r"vif7\.0"):
        cleanup.run(Namespace(timeout=1.0))
    assert removed == [GONE]
