"""The monitor's client against a scripted monitor."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remus_ha.lab.errors import StepFailed, TimedOut
from remus_ha.lab.qmp import Qmp

Answers = dict[str, list[dict[str, Any]]]


def migration(status: str) -> dict[str, Any]:
    return {"event": "MIGRATION", "data": {"status": status}}


@contextmanager
def monitor(path: Path, answers: Answers) -> Iterator[list[dict[str, Any]]]:
    """Serves one connection: each command gets its messages, without any it gets ``{}``."""
    asked: list[dict[str, Any]] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b'{"QMP": {}}\r\n')
                decoder = json.JSONDecoder()
                while data := connection.recv(65536).decode():
                    request, _ = decoder.raw_decode(data)
                    asked.append(request)
                    for message in answers.get(request["execute"], [{"return": {}}]):
                        connection.sendall(json.dumps(message).encode() + b"\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "qmp"


def test_results_among_events(path: Path) -> None:
    answers = {"query-status": [{"event": "STOP"}, {"return": {"status": "paused"}}]}
    with monitor(path, answers) as asked, Qmp(path) as qmp:
        assert qmp.execute("query-status", x=1) == {"status": "paused"}
    assert asked[-1] == {"execute": "query-status", "arguments": {"x": 1}}


def test_an_error_is_typed(path: Path) -> None:
    answers = {"cont": [{"error": {"class": "GenericError", "desc": "not finalized"}}]}
    with monitor(path, answers), Qmp(path) as qmp, pytest.raises(StepFailed, match="not final"):
        qmp.execute("cont")


@pytest.mark.parametrize("early", [True, False])
def test_a_migration_is_waited_for(path: Path, early: bool) -> None:
    """Its events may come before the command's own result."""
    events = [migration("setup"), migration("active"), migration("completed")]
    answer = [{"return": {}}]
    answers = {"migrate": [*events, *answer] if early else [*answer, *events]}
    with monitor(path, answers) as asked, Qmp(path) as qmp:
        qmp.migrate("migrate", uri="exec:true")
    assert asked[-1]["arguments"] == {"uri": "exec:true"}


def test_a_failed_migration_is_typed(path: Path) -> None:
    answers = {"migrate-incoming": [{"return": {}}, migration("failed")]}
    with monitor(path, answers), Qmp(path) as qmp, pytest.raises(StepFailed, match="failed"):
        qmp.migrate("migrate-incoming", uri="exec:false")


def test_silence_has_a_bound(path: Path) -> None:
    with monitor(path, {"stop": []}), Qmp(path, timeout_s=0.3) as qmp, pytest.raises(TimedOut):
        qmp.execute("stop")
