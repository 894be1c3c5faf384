"""Following a file on a host: the way to wait for what a process of the product says."""

import re
import threading
import time
from types import TracebackType

from remus_ha.lab.host import Host


class Follower:
    """``tail -F`` of one file over ssh, from its beginning. The file may appear later."""

    def __init__(self, host: Host, path: str) -> None:
        self.host, self.path = host, path
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> "Follower":
        self._child = self.host.shell.popen(f"exec tail -n +1 -F {self.path} 2>/dev/null")
        self._thread = threading.Thread(target=self._read, name=f"tail-{self.path}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.kill()
        self._child.wait()
        self._thread.join()
        for pipe in (self._child.stdout, self._child.stderr):
            assert pipe is not None
            pipe.close()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self._lines.append(line.decode(errors="replace").rstrip())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def lines(self) -> list[str]:
        """All lines so far."""
        with self._changed:
            return list(self._lines)

    def count(self, pattern: str) -> int:
        """How many lines so far match."""
        return sum(re.search(pattern, line) is not None for line in self.lines)

    def wait_until(self, pattern: str, deadline: float) -> str | None:
        """The first line that matches; None where none has by ``deadline`` (monotonic seconds)."""

        def found() -> str | None:
            return next((x for x in self._lines if re.search(pattern, x)), None)

        with self._changed:
            self._changed.wait_for(
                lambda: found() is not None or self._ended, max(0.0, deadline - time.monotonic())
            )
            return found()

    def wait(self, pattern: str, timeout_s: float = 240.0, after: int = 0, times: int = 1) -> str:
        """The line that matches as the ``times``-th one after the first ``after`` lines.

        AssertionError with the last lines when it does not come in time.
        """
        deadline = time.monotonic() + timeout_s

        def found() -> str | None:
            matching = [x for x in self._lines[after:] if re.search(pattern, x)]
            return matching[times - 1] if len(matching) >= times else None

        with self._changed:
            while (line := found()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    why = "the host is gone" if self._ended else f"not within {timeout_s:g} s"
                    tail = "\n  ".join(self._lines[-25:])
                    raise AssertionError(f"no {pattern!r} in {self.path}: {why}\n  {tail}")
                self._changed.wait(left)
            return line
