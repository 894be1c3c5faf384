"""Compiles the lab's small C programs."""

from pathlib import Path

from remus_ha.lab.run import run

FLAGS = ("-std=gnu11", "-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror")


def compile_static(source: Path, program: Path, *more: Path) -> None:
    """Build a source file, with ``more``, to a static executable.

    Raises StepFailed with the compiler's words.
    """
    program.parent.mkdir(parents=True, exist_ok=True)
    run(["gcc", *FLAGS, "-o", program, source, *more])
