"""Clients of the control socket that went as far as ending the process, or got half an answer."""

import json
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha.control_socket import NotRunning, ask
from tests.unit.control_server import UUID, Server, connect, is_alive


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.close()
    assert made.error is None, f"a client has ended the process: {made.error!r}"


@pytest.mark.parametrize(
    "line",
    [
        b'{"command":"status","after":null}',
        b'{"command":"status","after":[1]}',
        b'{"command":"status","after":1e400}',
        b"[" * 50_000,
    ],
    ids=("null", "list", "infinite", "deep"),
)
def test_a_question_that_no_answer_was_thought_of_is_an_error(server: Server, line: bytes) -> None:
    with connect(server) as client, client.makefile("rb") as answers:
        client.sendall(line + b"\n")
        assert "error" in json.loads(answers.readline())
    assert is_alive(server)


def test_a_large_answer_arrives_whole(server: Server) -> None:
    """All samples of a long session are more than a socket takes at once."""
    answer = ask(server.path, UUID, {"command": "large", "thousands": 2000})
    assert len(answer) == 2000


def test_many_silent_clients_do_not_use_up_the_process(server: Server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, hard))
    clients: list[socket.socket] = []
    try:
        while True:
            clients.append(connect(server))
    except OSError:
        pass  # this side is out of descriptors too, or is turned away
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: is_alive(server))


def test_half_an_answer_is_no_answer(tmp_path: Path) -> None:
    """The process died while it was answering."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def half() -> None:
            client, _ = listener.accept()
            client.recv(4096)
            client.sendall(b'{"state": "prot')
            client.close()

        thread = threading.Thread(target=half)
        thread.start()
        try:
            with pytest.raises(NotRunning):
                ask(tmp_path / "s", UUID, {"command": "status"})
        finally:
            thread.join()


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except NotRunning:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_that_goes_without_reading_holds_up_nobody(server: Server) -> None:
    for _ in range(20):
        with connect(server) as client:
            client.sendall(b'{"command":"status"}\n' * 50)
    assert is_alive(server)
