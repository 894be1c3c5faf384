"""The local socket of a per-guest process: it answers, and no client can harm the process."""

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.control_socket import LIMIT, NotRunning, ask
from tests.unit.control_server import UUID, Server, connect, is_alive


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.close()
    assert made.error is None, f"a client has ended the process: {made.error!r}"


def test_a_question_is_answered(server: Server) -> None:
    assert is_alive(server)
    assert os.stat(server.path).st_mode & 0o777 == 0o600


def test_several_questions_on_one_connection(server: Server) -> None:
    with connect(server) as client, client.makefile("rb") as answers:
        client.sendall(b'{"command":"status","after":1}\n{"command":"status","after":2}\n{"comm')
        assert [json.loads(answers.readline()) for _ in range(2)] == [{"after": 1}, {"after": 2}]
        client.sendall(b'and":"status"}\n')
        assert json.loads(answers.readline()) == {"after": 0}


def test_an_error_is_answered_with_code_cause_and_remedy(server: Server) -> None:
    answer = ask(server.path, UUID, {"command": "refused"})
    assert answer == {"error": {"code": "TEST-001", "cause": "no answer", "remedy": "None."}}


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b'{"command":["status"]}',
        b'{"command":"status","after":"x"}',
    ],
    ids=lambda line: line[:40].decode(errors="replace"),
)
def test_rubbish_is_answered_with_an_error_and_the_process_goes_on(
    server: Server, line: bytes
) -> None:
    with connect(server) as client, client.makefile("rb") as answers:
        client.sendall(line + b"\n")
        assert "error" in json.loads(answers.readline())
    assert is_alive(server)


def test_a_line_without_end_is_cut_at_the_limit(server: Server) -> None:
    with connect(server) as client:
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * LIMIT * 64)
    assert is_alive(server)


def test_a_client_that_never_reads_is_not_waited_for(server: Server) -> None:
    with connect(server) as client:
        client.settimeout(0.2)
        with pytest.raises(OSError, match=r"timed out|Broken pipe|reset"):
            client.sendall(b'{"command":"large","thousands":100}\n' * 50_000)
        assert is_alive(server)


def test_nobody_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(NotRunning) as caught:
        ask(tmp_path / "none", UUID, {"command": "status"})
    assert caught.value.as_dict()["code"] == "PROTECT-002"


def test_a_process_that_stands_still_is_given_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(NotRunning):
            ask(tmp_path / "s", UUID, {"command": "status"}, timeout_s=0.2)


def test_a_left_over_socket_is_replaced_and_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch()
    server = Server(path)
    try:
        assert is_alive(server)
    finally:
        server.close()
    assert not path.exists()
