"""What is free on the backup, less what those that come have not claimed yet."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from remus_ha import conf, rundir, shares
from remus_ha.exceptions import RemusError
from remus_ha.limits import OVERHEAD_KIB
from remus_ha.receive import admission
from remus_ha.receive.admission import share_of
from remus_ha.shares import Counter
from tests.unit.receive.test_request import REQUEST

NEEDED = REQUEST.memory_kib + OVERHEAD_KIB
COMING = replace(REQUEST, guest_uuid=REQUEST.guest_uuid.replace("6a", "7b"), guest_name="db1")


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    monkeypatch.setattr(conf, "PATH", tmp_path / "remus-ha.conf")


def judged(free_kib: int) -> list[RemusError]:
    xen = SimpleNamespace(host=lambda: SimpleNamespace(free_kib=free_kib))
    with Counter() as counter:
        return admission.obstacles(share_of(REQUEST), counter, xen)


def test_what_another_guest_has_not_claimed_yet_is_not_free() -> None:
    with Counter() as counter:
        assert counter.add(share_of(COMING))
    (refused,) = judged(2 * NEEDED - 1)
    assert "XEN-013" in str(refused)
    assert judged(2 * NEEDED) == []


def test_what_it_has_claimed_is_xens_to_count() -> None:
    with Counter() as counter:
        assert counter.add(share_of(COMING))
    shares.note_claim(COMING.guest_uuid)
    assert judged(NEEDED) == []
    assert len(judged(NEEDED - 1)) == 1


def test_its_own_share_of_before_does_not_count() -> None:
    with Counter() as counter:
        assert counter.add(share_of(REQUEST))
    assert judged(NEEDED) == []


def test_a_configuration_that_is_broken_is_said() -> None:
    conf.PATH.write_text("[backup]\nmemory_mib = much\n")
    with pytest.raises(conf.ConfigBroken):
        judged(NEEDED)
