"""Compiles the lab's small C programs."""

from collections.abc import Sequence
from pathlib import Path

from remus_ha.lab.run import run

FLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")


def compile_static(source: Path, program: Path, *more: Path, libraries: Sequence[str] = ()) -> None:
    """Build a source file, with ``more``, to a static executable.

    ``libraries`` (``sqlite3`` for ``libsqlite3.a``) are named before those that they need.
    Raises StepFailed with the compiler's words.
    """
    program.parent.mkdir(parents=True, exist_ok=True)
    names = [f"-l{name}" for name in libraries]
    run(["gcc", *FLAGS, "-o", program, source, *more, *names])
