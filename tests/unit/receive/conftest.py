"""What the tests of a backup's answers share."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from remus_ha import rundir
from remus_ha.receive import start


@pytest.fixture
def bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host on which nothing runs, and whose hypervisor takes every guest."""
    for name in ("ROOT", "STATE"):
        monkeypatch.setattr(rundir, name, tmp_path / name)
    xen = SimpleNamespace(backup_obstacles=lambda *args: [])
    monkeypatch.setattr(start, "XenDriver", lambda: xen)
