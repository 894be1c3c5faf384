"""The guest's database program as a process of this machine, in a namespace of its own."""

import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType

from remus_ha.lab.database import DatabaseControl
from remus_ha.lab.network import Network
from remus_ha.lab.process import wait_readable


class DatabaseProgram:
    """Its port is on loopback. ``words`` are its command line; ``prefix`` comes before that."""

    def __init__(self, program: Path, *words: str, prefix: tuple[str, ...] = ()) -> None:
        self._words: list[str | Path] = [*prefix, program, *words]
        self._namespace = Network(f"remus-test-{uuid.uuid4().hex[:8]}")
        self.control = DatabaseControl(self._namespace.enter, "127.0.0.1")

    def __enter__(self) -> "DatabaseProgram":
        name = self._namespace.name
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "set", "lo", "up")
        with self._namespace.enter():
            self.child = subprocess.Popen(self._words, stdout=subprocess.PIPE)
        assert self.child.stdout is not None
        assert wait_readable(self.child.stdout.fileno(), time.monotonic() + 20)
        assert self.child.stdout.readline() == b"database: serving\n"
        return self

    def kill(self) -> None:
        """As a power cut ends it, except that its machine's page cache stays."""
        self.child.kill()
        self.child.wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        assert self.child.stdout is not None
        self.child.stdout.close()
        self._namespace.remove()


def _run(*words: str) -> None:
    subprocess.run(words, check=True, timeout=20)
