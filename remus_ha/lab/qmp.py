"""A small client of QEMU's monitor (QMP): commands and events, nothing polled."""

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from remus_ha.lab.errors import StepFailed, TimedOut
from remus_ha.lab.process import wait_readable


class Qmp:
    """One connection; a context manager. Raises StepFailed, TimedOut."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._path = path
        self._partial = b""
        self._events: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> "Qmp":
        self._socket.connect(str(self._path))
        self._message()
        self.execute("qmp_capabilities")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """The command's result."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode())
        while True:
            message = self._message()
            if "return" in message:
                return message["return"]
            if "error" in message:
                said = message["error"]["desc"]
                raise StepFailed(command=f"QEMU's {command}", status="error", output=said)
            self._events.append(message)

    def wait_event(self, name: str) -> dict[str, Any]:
        """The next event of that name; what came before it is forgotten."""
        while True:
            message = self._events.pop(0) if self._events else self._message()
            if message.get("event") == name:
                return message

    def migrate(self, direction: str, **arguments: Any) -> None:
        """Run ``migrate`` or ``migrate-incoming`` and wait until it is complete."""
        events = [{"capability": "events", "state": True}]
        self.execute("migrate-set-capabilities", capabilities=events)
        self.execute(direction, **arguments)
        while True:
            message = self._events.pop(0) if self._events else self._message()
            status = message.get("data", {}).get("status")
            if message.get("event") == "MIGRATION" and status == "completed":
                return
            if message.get("event") == "MIGRATION" and status == "failed":
                raise StepFailed(command=f"QEMU's {direction}", status=status, output=arguments)

    def _message(self) -> dict[str, Any]:
        while b"\n" not in self._partial:
            if not wait_readable(self._socket.fileno(), self._deadline):
                where = str(self._path)
                raise TimedOut(what="an answer of QEMU", seconds=self._timeout_s, where=where)
            data = self._socket.recv(65536)
            if not data:
                raise StepFailed(command="QEMU", status="gone", output=str(self._path))
            self._partial += data
        line, _, self._partial = self._partial.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message
