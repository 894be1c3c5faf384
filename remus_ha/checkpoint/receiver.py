"""The receiver's command on the backup, as the primary's side of its one line and its answer.

Quick to load: the command needs longer to start than all else that ``protect`` does.
"""

import contextlib
import os
import shlex
import subprocess
from typing import Self

from remus_ha.checkpoint.wish import Wish
from remus_ha.exceptions import RemusError

RECEIVER_S = 100.0
END_S = 1.0
CHECK = "--check"  # the receiver only looks


class BackupUnreachable(RemusError):
    code = "PROTECT-005"
    cause = "the receiver on '{host}' could not be started: {detail}"
    remedy = "Run it by hand: {command} must print one line and nothing else."


class Receiver:
    """One start of it. Left without having been told anything, it ends at the end of its input."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._process: subprocess.Popen[bytes] | None = None
        self._untold = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def knock(self, *more: str) -> None:
        """Start it already. Raises BackupUnreachable."""
        if self._wish.blackhole:
            return
        try:
            self._process = subprocess.Popen(
                self._command(*more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as e:
            raise self._unreachable(e, *more) from e

    def tell(self, request: bytes, *more: str) -> None:
        """Hand it the one line, as much as it takes at once. Raises BackupUnreachable."""
        if self._process is None:
            self.knock(*more)
        if self._process is None or self._process.stdin is None:
            raise self._unreachable("there is none", *more)
        fd = self._process.stdin.fileno()
        os.set_blocking(fd, False)
        taken = 0
        with contextlib.suppress(OSError):  # 'answer' says why it is gone
            taken = os.write(fd, request)
        self._untold = request[taken:]
        if not self._untold:
            self._process.stdin.close()
            self._process.stdin = None

    def answer(self, *more: str) -> bytes:
        """What it says to that. Raises BackupUnreachable."""
        process, self._process = self._process, None
        if process is None:
            raise self._unreachable("there is none", *more)
        try:
            answer, complaint = process.communicate(self._untold or None, RECEIVER_S)
        except (OSError, subprocess.TimeoutExpired) as e:
            _end(process)
            raise self._unreachable(e, *more) from e
        if not answer:
            said = complaint.decode(errors="replace").strip()
            raise self._unreachable(said or f"status {process.returncode}", *more)
        return answer

    def _command(self, *more: str) -> list[str]:
        """As ``xl remus`` builds it."""
        wish = self._wish
        if wish.port:
            more = ("--port", str(wish.port), *more)
        if not wish.ssh:
            return ["sh", "-c", " ".join([wish.host, *more])]
        remote = " ".join(["remus-ha", "receive", *more])
        return [*shlex.split(wish.ssh), wish.host, remote]

    def _unreachable(self, detail: object, *more: str) -> BackupUnreachable:
        command = shlex.join(self._command(*more))
        return BackupUnreachable(host=self._wish.host, command=command, detail=detail)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Gently first: an ssh that asks for a password puts the terminal in order."""
    process.terminate()
    try:
        process.communicate(timeout=END_S)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()
