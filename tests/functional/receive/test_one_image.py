"""Two protections onto one image: its journal stays that of the store which has it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.disk import tls
from remus_ha.disk.spec import DiskSpec, journal_of
from remus_ha.disk.store import recover
from remus_ha.disk.store.launch import SETUP, Setup, StoreRefused
from remus_ha.receive.store import OwnStore

SIZE = 1 << 20


class Bed:
    """The sessions of several guests on one backup."""

    def __init__(self, directory: Path) -> None:
        self.image = directory / "disk.img"
        self.setup = journal_of(self.image) / SETUP
        self._directory = directory
        self._pids: list[int] = []

    def start(self, guest: str, vdev: str) -> OwnStore:
        """Raises StoreRefused."""
        session = self._directory / guest
        keys = tls.save(tls.create(), session / "tls")
        spec = DiskSpec(vdev, str(self.image), SIZE, "received", "", True, 1 << 30, 0)
        store = OwnStore(spec, guest, session)
        self._pids.append(store.begin("127.0.0.1", keys, known=True).wait())
        return store

    def kill(self) -> None:
        while self._pids:
            pid = self._pids.pop()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(rundir, "LOGS", tmp_path)
    bed = Bed(tmp_path)
    yield bed
    bed.kill()


def test_a_store_that_is_refused_leaves_the_journal_to_its_owner(bed: Bed) -> None:
    first = bed.start("web1", "xvda")
    told = bed.setup.read_bytes()
    assert Setup.load(bed.setup).disk == "xvda"
    with pytest.raises(StoreRefused, match="DISK-003"):
        bed.start("web2", "xvdb")
    assert bed.setup.read_bytes() == told
    bed.kill()
    assert recover.outcome("xvda", first.recover(-1)) == -1


def test_a_journal_that_cannot_be_written_is_told(bed: Bed) -> None:
    bed.setup.mkdir(parents=True)
    with pytest.raises(StoreRefused, match="DISK-047"):
        bed.start("web1", "xvda")
