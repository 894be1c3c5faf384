"""A keeper that takes up a dead one's session waits for the restore that runs on by itself."""

import os
import subprocess
import sys
import threading
import time
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


@pytest.mark.parametrize("minded", [True, False])
def test_xl_stays_with_the_copy_unless_it_is_not_to(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minded: bool
) -> None:
    """What is started is what is found again, with and without ``-e``."""
    stand_in = tmp_path / "xl"
    stand_in.write_text(
        f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:], flush=True)\ninput()\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    process = restore.start(read_end, log, minded=minded)
    os.close(read_end)
    try:
        until = time.monotonic() + 10
        while not log.read_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        assert ("-e" in log.read_text()) is not minded
    finally:
        os.close(write_end)
        process.wait(10)
