"""The test bed: the lab with a guest on host a, and the instruments that both contenders share."""

import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from benchmarks import remote
from benchmarks.errors import Missing
from remus_ha.lab.cluster import Lab
from remus_ha.lab.control import GuestControl
from remus_ha.lab.demo.clocks import HostClock
from remus_ha.lab.host import Host
from remus_ha.lab.plan import GuestPlan
from remus_ha.lab.xlconfig import STOCK_VIF_SCRIPT, GuestSpec, plain_disks

PRIMARY, BACKUP = "a", "b"
GUEST = "g"
END_S = 2.0
DISK_MIB = 16
REMOTE = Path(remote.__file__).parent

_HELPER_STARTED = r"""
import glob, os
for path in glob.glob("/proc/[0-9]*"):
    try:
        with open(path + "/cmdline", "rb") as words, open(path + "/stat") as stat:
            if b"\0--save-domain\0" in words.read():
                ticks = int(stat.read().rpartition(")")[2].split()[19])
                print(ticks / os.sysconf("SC_CLK_TCK"))
    except OSError:
        pass
"""


class Bed:
    """Two hosts and at most one guest, ``g``, which ``guest`` makes on host a."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def primary(self) -> Host:
        """Where the guest is at first."""
        return self.lab.host(PRIMARY)

    @property
    def backup(self) -> Host:
        """The other one."""
        return self.lab.host(BACKUP)

    @property
    def control(self) -> GuestControl:
        """The guest's control port."""
        return self.lab.guests.control(GUEST)

    @property
    def plan(self) -> GuestPlan:
        """The guest's addresses."""
        return self.lab.guests.plan(GUEST)

    @property
    def witness(self) -> str:
        """For ``--witness``."""
        return self.lab.witness.url.replace("http:", "etcd:")

    def ready(self) -> None:
        """Both hosts powered on, with this checkout, and the witness initialised."""
        if not self.lab.is_up:
            self.lab.up()
            self.lab.push()
            self.primary.shell.run(["remus-ha", "witness", "init", self.witness])
        for name in (PRIMARY, BACKUP):
            self.lab.boot(name)

    def guest(self, *, stock_scripts: bool = False, disks: int = 0) -> GuestPlan:
        """A fresh guest on host a, instead of any other."""
        self.drop_guest()
        script = STOCK_VIF_SCRIPT if stock_scripts else ""
        spec = GuestSpec(GUEST, vif_script=script, disks=plain_disks(disks, DISK_MIB))
        with self.lab.progress.step(f"create guest {GUEST}"):
            return self.lab.guests.create(spec, PRIMARY)

    def drop_guest(self) -> None:
        """End every domain, also a copy that is not one yet."""
        for row in self.lab.guests.list():
            self.lab.guests.destroy(row.name.removesuffix("--incoming"))

    def domid(self) -> str:
        """The guest's domain id on host a."""
        return self.primary.shell.text(["xl", "domid", GUEST]).strip()

    def uuid(self) -> str:
        """The guest's UUID."""
        path = f"/local/domain/{self.domid()}/vm"
        return self.primary.shell.text(["xenstore-read", path]).strip().removeprefix("/vm/")

    def saving_since(self) -> float:
        """When the save helper now running on host a was started (its monotonic clock)."""
        told = self.primary.shell.text(["python3", "-c", _HELPER_STARTED]).strip()
        if not told:
            raise Missing(what="a save helper", seconds=0, tail="none runs on host a")
        return float(told)

    @contextmanager
    def clock(self, host: Host) -> Iterator[HostClock]:
        """The host's clocks against this machine's."""
        with closing(HostClock(host)) as clock:
            yield clock


@dataclass
class Lines:
    """What a program on a host says, line by line; a context manager that ends it.

    The program must end when its standard input does, or when it is told to by other means.
    """

    host: Host
    command: str
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> "Lines":
        self._changed = threading.Condition()
        self._child = self.host.shell.popen(
            self.command, stdin=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._thread.join()
        assert self._child.stdout is not None
        self._child.stdout.close()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def seen(self) -> list[str]:
        """All lines so far."""
        with self._changed:
            return list(self.lines)

    def wait(self, what: str, done: Callable[[list[str]], bool], timeout_s: float) -> None:
        """Until ``done`` of all lines so far. Missing."""
        with self._changed:
            if self._changed.wait_for(lambda: done(self.lines), timeout_s):
                return
            tail = " / ".join(self.lines[-6:])
        raise Missing(what=what, seconds=timeout_s, tail=tail)


class Suspends:
    """Every request to suspend the guest, on host a's monotonic clock; a context manager."""

    def __init__(self, bed: Bed) -> None:
        script = (REMOTE / "suspends.py").read_text()
        words = ["exec", "python3", "-c", script, bed.domid()]
        self._lines = Lines(bed.primary, shlex.join(words))

    def __enter__(self) -> "Suspends":
        self._lines.__enter__()
        try:
            self._lines.wait("the watch", lambda lines: lines[:1] == ["ready"], 30)
        except BaseException:
            self._lines.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.__exit__(kind, error, trace)

    def moments(self) -> list[float]:
        """All requests so far."""
        return [float(line) for line in self._lines.seen()[1:]]

    def wait(self, count: int, timeout_s: float) -> None:
        """Until there are ``count`` requests in all. Missing."""
        self._lines.wait(f"checkpoint {count}", lambda lines: len(lines) > count, timeout_s)

    def for_a_while(self, seconds: float) -> list[float]:
        """The requests of the next ``seconds``."""
        before = len(self.moments())
        time.sleep(seconds)
        return self.moments()[before:]
