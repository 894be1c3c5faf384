"""The product's processes on a host, by role, and their end."""

import threading
import time

from remus_ha.lab.host import Host

MODULES = {
    "process": "remus_ha.checkpoint ",
    "guardian": "remus_ha.checkpoint.guardian ",
    "receiver": "remus_ha.receive ",
    "keeper": "remus_ha.receive.keeper ",
    "restore": "xl migrate-receive ",
}


def pids(host: Host, role: str) -> list[int]:
    """Processes of that role now."""
    listed = host.shell.text("ps -eo pid=,args=").splitlines()
    rows = (line.strip().partition(" ")[::2] for line in listed)
    return [int(pid) for pid, args in rows if MODULES[role] in f"{args} "]


def is_copy(host: Host, role: str) -> bool:
    """Whether it began as a copy of the front end: it has written its own name, in one piece."""
    (pid,) = pids(host, role)
    return (
        host.shell.run(f"grep -q ' -m remus_ha' /proc/{pid}/cmdline", check=False).returncode == 0
    )


def send(host: Host, signal: str, *roles: str) -> list[int]:
    """A signal to the one process of each role, all at once. Their pids."""
    found = []
    for role in roles:
        of_role = pids(host, role)
        assert len(of_role) == 1, f"{role}: {of_role}"
        found += of_role
    host.shell.run(f"kill -{signal} {' '.join(map(str, found))}")
    return found


def kill(host: Host, *roles: str) -> list[int]:
    """SIGKILL the one process of each role, all at once. Their pids."""
    return send(host, "KILL", *roles)


def wait_other(host: Host, role: str, than: int, timeout_s: float = 30.0) -> int:
    """Until exactly one process of that role runs, and it is another."""
    deadline = time.monotonic() + timeout_s
    while True:
        now = pids(host, role)
        if len(now) == 1 and now[0] != than:
            return now[0]
        assert time.monotonic() < deadline, f"{role}: {now} after {than}"
        threading.Event().wait(0.2)


def wait_gone(host: Host, role: str, timeout_s: float = 240.0) -> None:
    """Until no process of that role runs."""
    deadline = time.monotonic() + timeout_s
    while found := pids(host, role):
        assert time.monotonic() < deadline, f"{role}: {found}"
        threading.Event().wait(0.2)
