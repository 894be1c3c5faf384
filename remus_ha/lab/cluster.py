"""The lab as one object: hosts, network, witness, guests.

All state is in the run directory (REMUS_HA_RUN, else ``/run/remus-ha-lab``), so every command
and every process of root finds the same lab. Disks and the witness's data lie in the cache
directory, which is on a disk. ``down`` removes all of both.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from remus_ha.lab import cache, emulator, frozen, image, tools
from remus_ha.lab.boot import wait_awake
from remus_ha.lab.errors import NotUp, UnknownHost, WrongShape
from remus_ha.lab.guests import Guests
from remus_ha.lab.host import Host
from remus_ha.lab.image import Images
from remus_ha.lab.network import Network
from remus_ha.lab.plan import Link, plan_hosts
from remus_ha.lab.progress import Progress
from remus_ha.lab.push import Checkout
from remus_ha.lab.qemu import HostFiles, Machine
from remus_ha.lab.release import Release, default_release, release_of
from remus_ha.lab.witness import Witness

_DEFAULT_RUN = Path("/run/remus-ha-lab")


def run_directory() -> Path:
    """Where the lab's state is."""
    named = os.environ.get("REMUS_HA_RUN")
    return Path(named).absolute() if named else _DEFAULT_RUN


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One cable; ``rate_bit_s`` is None when it is not slowed down."""

    address: str
    plugged: bool
    rate_bit_s: int | None


@dataclass(frozen=True, slots=True)
class HostStatus:
    """One host; ``pid`` is its QEMU's, None when it has no power."""

    name: str
    pid: int | None
    hung: bool
    links: dict[str, LinkStatus]


@dataclass(frozen=True, slots=True)
class LabStatus:
    """The whole lab; ``release`` is the hosts', None when it is not up."""

    up: bool
    release: str | None
    namespace: str
    hosts: list[HostStatus]
    witness: str | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What ``up`` was asked for, kept in the run directory. Its text tells all but the images."""

    release: Release
    hosts: int
    machine: Machine
    images: Images

    def __str__(self) -> str:
        return f"{self.hosts} hosts of {self.release.name}, {self.machine}"

    def dump(self) -> str:
        return json.dumps({**asdict(self), "release": self.release.name}, default=str)

    @classmethod
    def load(cls, text: str) -> "_Shape":
        raw = json.loads(text)
        images = Images(**{name: Path(path) for name, path in raw["images"].items()})
        machine = Machine(**raw["machine"])
        return cls(release_of(raw["release"]), raw["hosts"], machine, images)


class Lab:
    """One lab. Methods that name a host raise UnknownHost, NotUp, HostDown."""

    def __init__(self, run: Path | None = None, progress: Progress | None = None) -> None:
        self.run = run or run_directory()
        self.progress = progress or Progress()
        tag = hashlib.sha256(str(self.run).encode()).hexdigest()[:6]
        name = "remus-lab" if self.run == _DEFAULT_RUN else f"remus-lab-{tag}"
        self.store = cache.root() / name
        self.network = Network(name)
        self.witness = Witness(self.network, self.run, self.store)
        self.guests = Guests(self.run / "guests.json", self.network, self._running, self.host)

    # -- as a whole

    def up(
        self, hosts: int = 2, machine: Machine | None = None, release: Release | None = None
    ) -> None:
        """Bring the lab up; what is up already stays. Undone when it fails or is interrupted.

        ``release``: the hosts', by default what REMUS_HA_LAB_RELEASE names. Raises NotRoot,
        ToolsMissing, BadValue, WrongShape, HostDied, TimedOut and the image's errors.
        """
        plan_hosts(hosts)
        tools.require()
        if not emulator.is_mended(emulator.ensure()):
            self.progress.say("this QEMU is not known: guests may end by triple faults")
        release = release or default_release()
        images = image.ensure(release, self.progress)
        shape = _Shape(release, hosts, machine or Machine(), images)
        with self._locked():
            if self.is_up and self.network.exists:
                self._require_shape(shape)
                self._start_missing()
                return
            self._take_down()
            try:
                self._create(shape)
                self._start_missing()
            except BaseException:
                self._take_down()
                raise

    def _require_shape(self, wanted: _Shape) -> None:
        running = self._shape()
        if str(running) != str(wanted):
            raise WrongShape(running=running, wanted=wanted)

    def _create(self, shape: _Shape) -> None:
        """Everything but the hosts, and a witness that knows nothing."""
        self.run.mkdir(parents=True, exist_ok=True)
        self.store.mkdir(parents=True, exist_ok=True)
        self.network.create(plan_hosts(shape.hosts))
        self._shape_file.write_text(shape.dump())
        self.witness.start()
        self.witness.initialise()

    def _start_missing(self) -> None:
        self.witness.start()
        self._boot([host for host in self.hosts() if not host.running])

    def _boot(self, hosts: Sequence[Host]) -> None:
        if not hosts:
            return
        shape = self._shape()
        plans = plan_hosts(shape.hosts)
        states = frozen.ensure(plans, shape.machine, shape.images, self.progress)
        names = [plan.name for plan in plans]
        with self.progress.step(f"start {', '.join(host.name for host in hosts)}"):
            try:
                for host in hosts:
                    host.thaw(names, shape.machine, states.host(host.name))
                wait_awake(hosts)
            except BaseException:
                for host in hosts:
                    host.cut()
                raise

    def down(self) -> None:
        """End and remove everything; nothing happens without a lab."""
        with self._locked():
            self._take_down()

    def _take_down(self) -> None:
        if self._shape_file.exists():
            for host in self.hosts():
                host.remove()
        self.witness.remove()
        self.network.remove()
        shutil.rmtree(self.store, ignore_errors=True)
        shutil.rmtree(self.run, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One ``up``, ``down`` or ``boot`` at a time."""
        cache.root().mkdir(parents=True, exist_ok=True)
        with open(cache.root() / f".{self.network.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @property
    def _shape_file(self) -> Path:
        return self.run / "lab.json"

    def _shape(self) -> _Shape:
        try:
            return _Shape.load(self._shape_file.read_text())
        except FileNotFoundError:
            raise NotUp() from None

    @property
    def is_up(self) -> bool:
        """Whether there is a lab, with or without running hosts."""
        return self._shape_file.exists()

    # -- hosts

    def hosts(self) -> list[Host]:
        """All hosts, running or not."""
        shape = self._shape()
        return [
            Host(plan, self.network, shape.images, self._files(plan.name))
            for plan in plan_hosts(shape.hosts)
        ]

    def _files(self, name: str) -> HostFiles:
        return HostFiles(self.run / "hosts" / name, self.store / f"{name}.qcow2")

    def _running(self) -> list[Host]:
        return [host for host in self.hosts() if host.running and not host.hung]

    def host(self, name: str) -> Host:
        """The host called ``name``."""
        hosts = self.hosts()
        for host in hosts:
            if host.name == name:
                return host
        raise UnknownHost(host=name, known=", ".join(host.name for host in hosts))

    def status(self) -> LabStatus:
        """What is there now."""
        hosts = self.hosts() if self.is_up else []
        return LabStatus(
            up=self.is_up,
            release=self._shape().release.name if self.is_up else None,
            namespace=self.network.name,
            hosts=[self._host_status(host) for host in hosts],
            witness=self.witness.url if self.witness.running else None,
        )

    def _host_status(self, host: Host) -> HostStatus:
        links = {
            str(link): LinkStatus(
                address=host.plan.address(link),
                plugged=self.network.plugged(host.plan, link),
                rate_bit_s=self.network.rate_bit_s(host.plan, link),
            )
            for link in Link
        }
        process = host.process
        return HostStatus(host.name, process.pid if process else None, host.hung, links)

    def ssh(
        self,
        host: str,
        command: str | Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command on a host. Raises RemoteFailed (with ``check``), TimedOut."""
        target = self.host(host)
        target.require()
        return target.shell.run(command, stdin=stdin, timeout_s=timeout_s, check=check)

    def push(self, hosts: Sequence[str] = ()) -> None:
        """Install this checkout's package on the named hosts, else on all running ones."""
        targets = [self.host(name) for name in hosts] or self._running()
        checkout, python = Checkout.here(), self._shape().release.python
        for host in targets:
            host.require()
            with self.progress.step(f"push to {host.name}"):
                checkout.install(host.shell, python)
        (self.run / "pushed").touch()

    # -- accidents

    def cut(self, host: str) -> None:
        """Take a host's power away."""
        self.host(host).cut()

    def boot(self, host: str) -> None:
        """Power a cut host on again, with what was pushed before.

        Its disk is fresh; its data disk, /srv, is as it was left.
        """
        with self._locked():
            target = self.host(host)
            if target.running:
                return
            self._boot([target])
        if (self.run / "pushed").exists():
            self.push([host])

    def hang(self, host: str) -> None:
        """Freeze a host."""
        self.host(host).hang()

    def unhang(self, host: str) -> None:
        """Let a frozen host go on."""
        self.host(host).unhang()

    def unplug(self, host: str, link: Link) -> None:
        """Pull a cable."""
        self.host(host).set_plugged(link, False)

    def plug(self, host: str, link: Link) -> None:
        """Put a cable back."""
        self.host(host).set_plugged(link, True)

    def slow(self, host: str, link: Link, rate: str | None) -> None:
        """Slow a cable down to ``rate`` (10mbit) both ways, None ends it. BadValue."""
        self.host(host).slow(link, rate)

    def load(self, host: str, on: bool = True) -> None:
        """Keep a dom0's processor busy."""
        self.host(host).load(on)

    # -- the outside

    def enter(self) -> AbstractContextManager[None]:
        """Let the calling thread, and what it starts, be in the lab's network."""
        return self.network.enter()

    def popen_inside(self, command: Sequence[str], **options: Any) -> "subprocess.Popen[Any]":
        """``subprocess.Popen`` of a program of this machine in the lab's network."""
        with self.enter():
            return subprocess.Popen(list(command), **options)
