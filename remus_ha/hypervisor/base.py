"""What a hypervisor driver offers to the per-guest processes.

Everything here is about one guest at a time and is not thread-safe. Objects with a ``fileno``
are meant for one epoll loop: readable means ``pump`` has something to say.
"""

import abc
import enum
from dataclasses import dataclass
from typing import Any


class Life(enum.Enum):
    """What the hypervisor says of a domain."""

    RUNNING = "running"
    PAUSED = "paused"  # by an operator
    SUSPENDED = "suspended"  # it gave itself up for a checkpoint
    POWEROFF = "poweroff"
    REBOOT = "reboot"
    CRASHED = "crashed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Vif:
    """One virtual network interface; ``name`` is the backend device in dom0."""

    devid: int
    name: str
    mac: str
    bridge: str
    script: str
    backend_domid: int


@dataclass(frozen=True, slots=True)
class Disk:
    """One virtual disk as the guest sees it (``vdev``) and dom0 (``path``)."""

    vdev: str
    path: str
    writable: bool
    cdrom: bool
    format: str  # of the image: raw, qcow2, …


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest as found on this host. ``config`` is the libxl domain configuration."""

    name: str
    uuid: str
    domid: int
    kind: str  # pv, pvh, hvm
    memory_kib: int
    vcpus: int
    life: Life
    vifs: tuple[Vif, ...]
    disks: tuple[Disk, ...]
    passthrough: tuple[str, ...]
    other_devices: tuple[str, ...]
    config: dict[str, Any]


class Ask(enum.Enum):
    """What the memory copier wants next; each but COMPLETE is answered by ``reply``."""

    SUSPEND = "suspend"
    POSTCOPY = "postcopy"
    CHECKPOINT = "checkpoint"
    COMPLETE = "complete"


class MemoryStream(abc.ABC):
    """The hypervisor's own copier, writing a guest's memory epoch by epoch into a descriptor."""

    @abc.abstractmethod
    def fileno(self) -> int: ...

    @abc.abstractmethod
    def pump(self) -> list[Ask]:
        """What it asked since the last call. Raises SaveFailed when it ended."""

    @abc.abstractmethod
    def reply(self, value: int) -> None:
        """Answer the outstanding question: 1 to go on, 0 to stop."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it whatever it does; leaves no process and no dirty tracking behind."""


class DomainControl(abc.ABC):
    """Suspend, resume and watch one running domain."""

    @abc.abstractmethod
    def fileno(self) -> int:
        """Readable when some domain's life changed or the guest took a request."""

    @abc.abstractmethod
    def drain(self) -> None:
        """Read away what made ``fileno`` readable."""

    @abc.abstractmethod
    def life(self) -> Life: ...

    @abc.abstractmethod
    def request_suspend(self) -> None: ...

    @abc.abstractmethod
    def withdraw_suspend(self) -> bool:
        """Take a request back. False when the guest has taken it already: it will suspend."""

    @abc.abstractmethod
    def resume(self) -> bool:
        """Let a suspended domain go on as if nothing had happened; whether it was suspended."""

    @abc.abstractmethod
    def resume_now(self) -> None:
        """The same for a domain that is known to be suspended; ``rearm`` has to follow."""

    @abc.abstractmethod
    def rearm(self) -> None:
        """Make the next suspend noticed again, after ``resume_now``."""

    @abc.abstractmethod
    def pause(self) -> None: ...

    @abc.abstractmethod
    def unpause(self) -> None: ...

    @abc.abstractmethod
    def destroy(self) -> None:
        """Destroy the domain with its devices. Idempotent."""

    @abc.abstractmethod
    def close(self) -> None: ...
