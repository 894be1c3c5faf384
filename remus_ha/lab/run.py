"""Run a program of the machine and turn its failure into a typed error."""

import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from remus_ha.lab.errors import StepFailed, TimedOut

_TAIL = 2000


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    timeout_s: float = 120.0,
) -> str:
    """Standard output of ``command``; StepFailed with its last words, TimedOut."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            cwd=cwd,
            pass_fds=pass_fds,
            timeout=timeout_s,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired as error:
        raise TimedOut(what=f"'{words[0]}'", seconds=timeout_s, where="its output") from error
    if done.returncode != 0:
        said = (done.stderr + done.stdout)[-_TAIL:].strip()
        raise StepFailed(command=shlex.join(words), status=done.returncode, output=said)
    return done.stdout
