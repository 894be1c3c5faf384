"""A control socket served by a loop in a thread, as in a per-guest process."""

import os
import socket
import threading
from pathlib import Path
from typing import Any

from remus_ha.control_socket import ControlSocket, ask
from remus_ha.exceptions import RemusError
from remus_ha.loop import Loop

UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"


class Refused(RemusError):
    code = "TEST-001"
    cause = "no {what}"
    remedy = "None."


class Server:
    """A loop in a thread that answers like a per-guest process, until ``close``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.loop = Loop()
        self.error: BaseException | None = None
        self._end, self._wake = os.pipe()
        self._done = False
        self.socket = ControlSocket(self.loop, path, self.answer)
        self.loop.watch(self._end, self._stop)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _stop(self, _events: int) -> None:
        self._done = True

    def _run(self) -> None:
        try:
            self.loop.until(lambda: self._done)
        except BaseException as e:  # what would have ended the process
            self.error = e

    def answer(self, request: dict[str, Any]) -> Any:
        match request.get("command"):
            case "status":
                return {"after": int(request.get("after", 0))}
            case "large":
                return ["x" * 1000] * int(request["thousands"])
            case "refused":
                raise Refused(what="answer")
        raise ValueError("no such command")

    def close(self) -> None:
        os.write(self._wake, b"x")
        self._thread.join(10)
        self.socket.close()
        self.loop.close()
        os.close(self._end)
        os.close(self._wake)


def connect(server: Server) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(server.path))  # waits while the server's queue of connections is full
    client.settimeout(5.0)
    return client


def is_alive(server: Server) -> bool:
    return bool(ask(server.path, UUID, {"command": "status", "after": 7}) == {"after": 7})
