"""One QEMU's monitor: commands with deadlines, and the events of our block jobs."""

import asyncio
import contextlib
import errno
import socket
from pathlib import Path
from typing import Any, cast

from remus_ha.disk.qemu import names
from remus_ha.disk.qemu.errors import QemuRefused, QemuUnreachable, QmpLibraryMissing

try:
    from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError, Runstate
except ImportError as e:  # only guests with disks need it
    raise QmpLibraryMissing() from e

JOB_EVENTS = (
    "BLOCK_JOB_READY",
    "BLOCK_JOB_COMPLETED",
    "BLOCK_JOB_CANCELLED",
    "BLOCK_JOB_ERROR",
)
_CONNECT_S = 10.0


class Monitor:
    """Belongs to one asyncio loop."""

    def __init__(self, domid: int, path: Path) -> None:
        self._domid, self._path = domid, path
        self._client = QMPClient("remus-ha")
        self._events = EventListener(JOB_EVENTS)
        self._client.register_listener(self._events)

    async def connect(self) -> None:
        """Raises QemuUnreachable."""
        try:
            await asyncio.wait_for(self._client.connect(str(self._path)), _CONNECT_S)
        except (QMPError, TimeoutError, OSError) as e:
            raise QemuUnreachable(
                domid=self._domid, path=self._path, detail=str(e) or "no answer"
            ) from e

    async def close(self) -> None:
        with contextlib.suppress(QMPError, TimeoutError, OSError, EOFError):
            await asyncio.wait_for(self._client.disconnect(), 2.0)

    async def do(
        self, command: str, *, deadline_s: float = 20.0, oob: bool = False, **arguments: Any
    ) -> Any:
        """The command's result. Underscores in names of arguments stand for hyphens.

        ``oob``: out of band, also while QEMU's main loop is stuck. Raises QemuRefused.
        """
        told = {name.replace("_", "-"): value for name, value in arguments.items()}
        call = self._client.execute(command, told, oob=oob)
        try:
            return await asyncio.wait_for(call, deadline_s)
        except ExecuteError as e:
            raise QemuRefused(command=command, detail=e) from e
        except (QMPError, OSError) as e:
            raise QemuRefused(command=command, detail=str(e) or "it is gone") from e
        except TimeoutError as e:
            raise QemuRefused(command=command, detail=f"no answer in {deadline_s} s") from e

    @property
    def lives(self) -> bool:
        """Whether QEMU is there; this connection to it may be lost."""
        if self._client.runstate is Runstate.RUNNING:
            return True
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            return probe.connect_ex(str(self._path)) in (0, errno.EAGAIN)

    @property
    def has_events(self) -> bool:
        """Whether an event has come that nobody has taken yet."""
        return not self._events.empty()

    async def event(self) -> tuple[str, str, str]:
        """The next event of a job of ours: its name, the job, and an error's text or nothing."""
        while True:
            message = await self._events.get()
            data = cast("dict[str, Any]", message["data"])
            job = str(data.get("device", ""))
            if job.startswith(names.PREFIX):
                return str(message["event"]), job, str(data.get("error", ""))

    async def jobs(self, deadline_s: float = 20.0) -> dict[str, dict[str, Any]]:
        """Our block jobs by their name."""
        found = await self.do("query-block-jobs", deadline_s=deadline_s)
        return {job["device"]: job for job in found if job["device"].startswith(names.PREFIX)}
