"""State that a process crash keeps."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from remus_ha import rundir

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    return tmp_path


def test_the_nonce_is_made_once() -> None:
    first = rundir.identity(UUID)
    assert len(first) == 16
    assert rundir.identity(UUID) == first
    assert rundir.identity(UUID.replace("6a", "7b")) != first


def test_processes_that_ask_at_the_same_moment_get_one_nonce(root: Path) -> None:
    """All of them wait for one pipe to close, then go together."""
    program = (
        "import os, sys\n"
        "from remus_ha import rundir\n"
        "os.read(int(sys.argv[2]), 1)\n"
        "print(rundir.identity(sys.argv[1]))\n"
    )
    gate, opener = os.pipe()
    environment = {**os.environ, "REMUS_HA_RUN_DIR": str(root)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, UUID, str(gate)],
            pass_fds=[gate],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(12)
    ]
    os.close(opener)
    answers = [process.communicate(timeout=60)[0].strip() for process in started]
    os.close(gate)
    assert {len(answer) for answer in answers} == {16}
    assert len(set(answers)) == 1
    assert [path.name for path in (root / "identity").iterdir()] == [UUID]


def test_a_file_is_replaced_as_a_whole(root: Path) -> None:
    path = root / "deep" / "state.json"
    rundir.write_json(path, {"n": 1})
    reader = path.open()
    rundir.write_json(path, {"n": 2})
    with reader:
        assert reader.read() == '{"n": 1}'
    assert rundir.read_json(path) == {"n": 2}
    assert [p.name for p in path.parent.iterdir()] == ["state.json"]


def test_what_cannot_be_written_leaves_the_old_content_and_nothing_else(root: Path) -> None:
    path = root / "state.json"
    rundir.write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        rundir.write_json(path, {"n": object()})
    assert rundir.read_json(path) == {"n": 1}
    assert [p.name for p in root.iterdir()] == ["state.json"]


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_what_is_not_json_reads_as_none(root: Path, content: bytes | None) -> None:
    path = root / "state.json"
    if content is not None:
        path.write_bytes(content)
    assert rundir.read_json(path) is None


def test_sessions_are_those_with_a_session_file(root: Path) -> None:
    assert rundir.sessions("primary") == []
    rundir.write_json(rundir.directory("primary", "b") / "session.json", {})
    rundir.write_json(rundir.directory("primary", "a") / "session.json", {})
    rundir.write_json(rundir.directory("primary", "ended") / "result.json", {})
    assert rundir.sessions("primary") == ["a", "b"]
    assert rundir.sessions("backup") == []


HOLD = (
    "import sys\n"
    "from remus_ha import rundir\n"
    "lock = rundir.Lock('primary', sys.argv[1])\n"
    "print(lock.take(), flush=True)\n"
    "sys.stdin.read()\n"
)


def holder(root: Path) -> "subprocess.Popen[str]":
    """A process that takes the lock and says whether it got it."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, UUID],
        env={**os.environ, "REMUS_HA_RUN_DIR": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_of_a_role_at_a_time(root: Path) -> None:
    first, second = holder(root), None
    try:
        assert said(first) == "True"
        second = holder(root)
        assert said(second) == "False"
        assert rundir.is_running("primary", UUID)
        assert not rundir.is_running("backup", UUID)
        assert not rundir.is_running("primary", UUID.replace("6a", "7b"))
    finally:
        for process in (first, second):
            if process is not None:
                process.kill()
                process.communicate()
    assert not rundir.is_running("primary", UUID), "a death lets go of it"
    third = holder(root)
    assert said(third) == "True"
    third.communicate()


def test_a_look_at_the_lock_keeps_nobody_from_taking_it(root: Path) -> None:
    """cleanup looks just when a process is being started again."""
    looking = rundir.Lock("primary", UUID)
    assert not looking.taken()
    first = holder(root)
    assert said(first) == "True"
    assert looking.taken()
    looking.close()
    assert rundir.is_running("primary", UUID), "the end of a look takes nothing away"
    first.communicate()


def test_who_has_the_lock_may_look_at_it(root: Path) -> None:
    """A classic record lock would be lost by that."""
    mine = rundir.Lock("primary", UUID)
    assert mine.take()
    assert rundir.is_running("primary", UUID)
    second = holder(root)
    assert said(second) == "False"
    second.communicate()
    mine.close()


def test_a_lock_is_not_inherited_by_what_a_process_starts(root: Path) -> None:
    """The save helper or xl may outlive who started it by a moment."""
    started = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=2).pid)"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("sys.stdin.read()", started), UUID],
        env={**os.environ, "REMUS_HA_RUN_DIR": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    taken, child = process.communicate(timeout=60)[0].split()
    try:
        assert taken == "True"
        assert not rundir.is_running("primary", UUID)
    finally:
        os.kill(int(child), signal.SIGKILL)
