"""Who minds a domain: xl's own monitor, and taking its work over.

``xl create`` stays in the background and carries out on_poweroff, on_reboot and on_crash. Up to Xen
4.19 it takes the domain's first suspend for its end and goes; from 4.20 on it stays through all of
them (xl_vmcontrol.c, handle_domain_death) and would start a protected guest again beside us. Its
standard output is a log named after the domain (libxl_create_logfile), which is how it is told from
other processes named xl.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

LOGS = Path("/var/log/xen")
_PROC = Path("/proc")


def is_minded(name: str, proc: Path = _PROC) -> bool:
    """Whether a process of xl's waits for the end of the domain of that name."""
    return any(True for _ in _monitors(name, proc))


def relieve(name: str, has_ended: Callable[[], bool], proc: Path = _PROC) -> bool:
    """End xl's monitor of the domain: what the domain's end calls for is up to the caller now.

    False where it ``has_ended`` already: then a monitor goes on with what it may be in the middle
    of. While that is asked it stands still, so one that has not begun never does.
    """
    with contextlib.ExitStack() as stack:
        monitors = []
        for pid in _monitors(name, proc):
            with contextlib.suppress(ProcessLookupError):
                monitors.append(stack.enter_context(_standing(pid)))
        if monitors and has_ended():
            return False
        for monitor in monitors:
            _signal(monitor, signal.SIGKILL)
    return True


@contextlib.contextmanager
def _standing(pid: int) -> Iterator[int]:
    """A pidfd of a process that stands still meanwhile. Raises ProcessLookupError."""
    pidfd = os.pidfd_open(pid)
    try:
        _signal(pidfd, signal.SIGSTOP)
        yield pidfd
    finally:
        _signal(pidfd, signal.SIGCONT)
        os.close(pidfd)


def _signal(pidfd: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


def _monitors(name: str, proc: Path) -> Iterator[int]:
    logs = tuple(str(LOGS / f"xl-{name}{end}") for end in (".log", "--incoming.log"))
    for process in proc.iterdir():
        if process.name.isdigit() and _minds(process, logs):
            yield int(process.name)


def _minds(process: Path, logs: tuple[str, ...]) -> bool:
    try:
        program = (process / "cmdline").read_bytes().partition(b"\0")[0]
        # A log that was turned over since has a number behind its name.
        return os.path.basename(program) == b"xl" and os.readlink(process / "fd/1").startswith(logs)
    except OSError:
        return False
