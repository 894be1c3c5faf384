"""One disk of the guest on the backup: who keeps its epochs, how that is found and taken up."""

import abc
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.disk.errors import DiskError, FinishOutstanding, StoreSilent
from remus_ha.disk.spec import DiskSpec, journal_of
from remus_ha.disk.store import launch, recover
from remus_ha.disk.store.client import StoreClient
from remus_ha.disk.store.launch import SETUP, Setup
from remus_ha.disk.tapdisk.classic import standing
from remus_ha.disk.tapdisk.classic.client import DaemonClient
from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.errors import DaemonLost
from remus_ha.disk.tapdisk.uri import parse
from remus_ha.loop import Loop
from remus_ha.receive.pulse import Pulse
from remus_ha.stream.tcp import listen

Said = Callable[[StoreClient, dict[str, Any]], None]
Ended = Callable[[StoreClient], None]


class Store(abc.ABC):
    """How far one disk's epochs have got. ``port``: where the primary sends its writes, 0: none.

    ``can_be_taken_up``: what a dead one has left is enough for the copy to live.
    """

    can_be_taken_up: bool

    def __init__(self, spec: DiskSpec) -> None:
        self.spec = spec
        self.client: StoreClient | None = None
        self.closed = -1
        self.finished = False
        self.broken = False  # it will commit nothing any more
        self.pulse = Pulse()
        self.recovery: subprocess.Popen[bytes] | None = None
        self.recoveries = 0
        self.port = 0

    @abc.abstractmethod
    def begin(self, address: str, tls: Path, *, known: bool) -> launch.Starting | None:
        """Start what has to be started for a session. Raises RemusError."""

    @abc.abstractmethod
    def connect(self, loop: Loop, said: Said, ended: Ended) -> None:
        """Raises OSError where nobody is."""

    @abc.abstractmethod
    def recover(self, committed: int) -> subprocess.Popen[bytes]:
        """Take up what a dead one has left, up to that epoch. Raises DiskError, OSError."""

    @abc.abstractmethod
    def silent(self, detail: object) -> DiskError:
        """The error of one that does not answer."""

    @abc.abstractmethod
    def outstanding(self, seconds: float) -> FinishOutstanding:
        """The news of one that has not finished for so long."""

    @abc.abstractmethod
    def forget(self) -> None:
        """The session is over, and nobody is connected any more."""


class OwnStore(Store):
    """A store that lives for the session. ``directory`` is the session's in /run."""

    can_be_taken_up = True

    def __init__(
        self,
        spec: DiskSpec,
        uuid: str,
        directory: Path,
        session: str = "",
        images: Sequence[str] = (),
    ) -> None:
        """``session`` and ``images`` as ``Setup`` has them."""
        super().__init__(spec)
        self._session, self._images = session, images
        self._journal = journal_of(Path(spec.path))
        self._file = directory / f"store-{spec.vdev}.json"
        self._socket = directory / f"store-{spec.vdev}.sock"
        self._log = rundir.LOGS / f"store-{uuid}-{spec.vdev}.log"

    def begin(self, address: str, tls: Path, *, known: bool) -> launch.Starting:
        with listen(address, 0) as listener:
            self.port = listener.getsockname()[1]
            return launch.begin(self._setup(known), self._file, listener, self._log, tls)

    def _setup(self, known: bool) -> Setup:
        spec = self.spec
        return Setup(
            disk=spec.vdev,
            path=spec.path,
            size=spec.size,
            known=known,
            directory=str(self._journal),
            socket=str(self._socket),
            ack=spec.ack,
            limit=spec.limit,
            format=spec.format,
            overwrite=spec.overwrite,
            session=self._session,
            images=self._images,
        )

    def connect(self, loop: Loop, said: Said, ended: Ended) -> None:
        self.client = StoreClient(loop, self.spec.vdev, self._socket, said=said, ended=ended)

    def recover(self, committed: int) -> subprocess.Popen[bytes]:
        return recover.begin(self._journal / SETUP, committed, patient=True)

    def silent(self, detail: object) -> DiskError:
        return StoreSilent(disk=self.spec.vdev, detail=detail, log=self._log)

    def outstanding(self, seconds: float) -> FinishOutstanding:
        who = "its store" if self.client else "the process that takes up its journal"
        return FinishOutstanding(disk=self.spec.vdev, who=who, seconds=seconds, log=self._log)

    def forget(self) -> None:
        self._socket.unlink(missing_ok=True)


class DaemonStore(Store):
    """A disk whose daemon serves it already, and goes on. ``directory`` is the daemons'."""

    can_be_taken_up = False  # it is the copy's disk

    def __init__(self, spec: DiskSpec, directory: Path) -> None:
        super().__init__(spec)
        self._files = Files(directory, parse(spec.uri).address)

    def begin(self, address: str, tls: Path, *, known: bool) -> None:
        standing.check_backup(self.spec, self._files.directory)

    def connect(self, loop: Loop, said: Said, ended: Ended) -> None:
        spec = self.spec
        self.client = DaemonClient(loop, spec.vdev, self._files, spec.base, said=said, ended=ended)

    def recover(self, committed: int) -> subprocess.Popen[bytes]:
        """The copy's device has died with it."""
        raise self.silent("its process has ended")

    def silent(self, detail: object) -> DiskError:
        return DaemonLost(disk=self.spec.uri, detail=detail, log=self._files.log)

    def outstanding(self, seconds: float) -> FinishOutstanding:
        return FinishOutstanding(
            disk=self.spec.uri, who="its daemon", seconds=seconds, log=self._files.log
        )

    def forget(self) -> None:
        """Nothing of it was the session's."""


def stores_of(
    specs: Sequence[DiskSpec], uuid: str, directory: Path, daemons: Path, session: str
) -> list[Store]:
    """Those of one session. Raises UriInvalid."""
    images = [spec.path for spec in specs]
    return [
        DaemonStore(spec, daemons) if spec.uri else OwnStore(spec, uuid, directory, session, images)
        for spec in specs
    ]
