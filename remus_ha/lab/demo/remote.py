"""Programs on a host that the demo talks to over ssh while it runs."""

import os
import subprocess
import threading
import time
from collections.abc import Callable

from remus_ha.lab.demo.errors import RemoteEnded
from remus_ha.lab.host import Host
from remus_ha.waiting import readable


class Dialogue:
    """A program that answers every line with a line. ``close`` ends it."""

    def __init__(self, host: Host, command: str) -> None:
        self._host, self._command = host.name, command
        self._child = host.shell.popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._rest = b""

    def ask(self, line: str, timeout_s: float = 20.0) -> str:
        """The answer to ``line``. RemoteEnded."""
        assert self._child.stdin is not None
        try:
            os.write(self._child.stdin.fileno(), line.encode() + b"\n")
        except OSError as error:
            raise self._ended(timeout_s) from error
        return self._read_line(timeout_s)

    def _read_line(self, timeout_s: float) -> str:
        assert self._child.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            wait_s = max(0.0, deadline - time.monotonic())
            if not readable(self._child.stdout, wait_s):
                raise self._ended(timeout_s)
            octets = os.read(self._child.stdout.fileno(), 65536)
            if not octets:
                raise self._ended(timeout_s)
            self._rest += octets
        answer, _, self._rest = self._rest.partition(b"\n")
        return answer.decode(errors="replace")

    def _ended(self, seconds: float) -> RemoteEnded:
        return RemoteEnded(command=self._command[:60], host=self._host, seconds=seconds)

    def close(self) -> None:
        end(self._child)


class Follower:
    """Gives every line that a program writes to ``take``, on a thread of its own."""

    def __init__(self, host: Host, command: str, take: Callable[[str], None]) -> None:
        self._take = take
        self._child = host.shell.popen(command, stderr=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._run, name=f"follow-{host.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._take(line.decode(errors="replace").rstrip("\n"))

    def close(self) -> None:
        """No line is taken after this returns."""
        self._child.kill()
        self._thread.join()
        end(self._child)


def end(child: "subprocess.Popen[bytes]") -> None:
    """Kill and reap it, and close its pipes."""
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
