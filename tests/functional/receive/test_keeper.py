"""A keeper that takes up a dead one's session waits for the restore that runs on by itself."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.hypervisor.xen import restore
from remus_ha.receive import keeper
from tests.unit.control_server import UUID


@pytest.fixture(name="log")
def _log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rundir, "LOGS", tmp_path)
    return rundir.restore_log(UUID)


@pytest.fixture(name="restoring")
def _restoring(log: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process with the restore's command line and log, until the end of its input."""
    (tmp_path / "migrate-receive").write_text("import sys; print('on', flush=True); input()")
    with log.open("wb") as out:
        process = subprocess.Popen(
            restore.COMMAND,
            executable=sys.executable,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.DEVNULL,
        )
    yield process
    process.kill()
    process.communicate()


def test_it_waits_until_the_restore_has_ended(restoring: "subprocess.Popen[bytes]") -> None:
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(keeper.await_restore(UUID)))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive(), found
    assert restoring.stdin is not None
    restoring.stdin.close()
    waiting.join(10)
    assert found == [0]


def test_a_restore_that_does_not_end_is_named(
    restoring: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RESTORE_S", 0.1)
    assert keeper.await_restore(UUID) == restoring.pid


def test_another_guests_restore_is_not_waited_for(
    restoring: "subprocess.Popen[bytes]", log: Path
) -> None:
    log.rename(log.with_name("another.log"))
    log.touch()
    assert keeper.await_restore(UUID) == 0
