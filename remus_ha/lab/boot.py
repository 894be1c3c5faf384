"""Wait until hosts that were started together are ready.

All their consoles are read at once: a console nobody reads stops its host.
"""

import os
import selectors
import time
from collections.abc import Sequence

from remus_ha.lab.errors import TimedOut
from remus_ha.lab.host import Host

_SEED_BYTES = 64


def wait_ready(hosts: Sequence[Host], timeout_s: float = 120.0) -> None:
    """Until every dom0 says READY and has an ssh connection. HostDied, SshFailed, TimedOut."""
    deadline = time.monotonic() + timeout_s
    connecting = []
    with selectors.DefaultSelector() as consoles:
        for host in hosts:
            assert host.console is not None
            consoles.register(host.console, selectors.EVENT_READ, host)
        while consoles.get_map():
            ready = _next_ready(consoles, deadline)
            connecting += [(host, host.shell.start_connecting()) for host in ready]
    for host, child in connecting:
        host.shell.finish_connecting(child, deadline)


def wait_awake(hosts: Sequence[Host], timeout_s: float = 60.0) -> None:
    """Until thawed hosts have an ssh connection, the present time and their data disk on /srv.

    Raises SshFailed, TimedOut, RemoteFailed.
    """
    deadline = time.monotonic() + timeout_s
    connecting = [(host, host.shell.start_connecting()) for host in hosts]
    for host, child in connecting:
        host.shell.finish_connecting(child, deadline)
        host.shell.run(f"lab-wake {time.time():.6f}", stdin=os.urandom(_SEED_BYTES))


def _next_ready(consoles: selectors.BaseSelector, deadline: float) -> list[Host]:
    events = consoles.select(max(0.0, deadline - time.monotonic()))
    if not events:
        waiting: list[Host] = [key.data for key in consoles.get_map().values()]
        names = ", ".join(host.name for host in waiting)
        where = str(waiting[0].files.console)
        raise TimedOut(what=f"the boot of {names}", seconds=120, where=where)
    ready = []
    for key, _ in events:
        host: Host = key.data
        if host.read_console():
            consoles.unregister(key.fileobj)
            host.close_console()
            ready.append(host)
    return ready
