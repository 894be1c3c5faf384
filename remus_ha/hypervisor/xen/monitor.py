"""Whether xl's own monitor still minds a domain.

``xl create`` stays in the background and carries out on_poweroff, on_reboot and on_crash, until the
domain's first suspend, which it takes for its end. Its standard output is a log named after the
domain (libxl_create_logfile), which is how it is told from other processes named xl.
"""

import os
from pathlib import Path

LOGS = Path("/var/log/xen")


def is_minded(name: str, proc: Path = Path("/proc")) -> bool:
    """Whether a process of xl's waits for the end of the domain of that name."""
    logs = tuple(str(LOGS / f"xl-{name}{end}") for end in (".log", "--incoming.log"))
    return any(_minds(process, logs) for process in proc.iterdir() if process.name.isdigit())


def _minds(process: Path, logs: tuple[str, ...]) -> bool:
    try:
        program = (process / "cmdline").read_bytes().partition(b"\0")[0]
        # A log that was turned over since has a number behind its name.
        return os.path.basename(program) == b"xl" and os.readlink(process / "fd/1").startswith(logs)
    except OSError:
        return False
