"""One Xen host: a QEMU process, an overlay of the base disk, a data disk; what befalls it."""

import shlex
import shutil
import signal
import socket
from pathlib import Path

from remus_ha.lab import cache, emulator
from remus_ha.lab.errors import HostDied, HostDown
from remus_ha.lab.image import Images
from remus_ha.lab.network import Network
from remus_ha.lab.plan import HostPlan, Link
from remus_ha.lab.process import Process
from remus_ha.lab.qemu import Frozen, HostFiles, Machine, command
from remus_ha.lab.qmp import Qmp
from remus_ha.lab.run import run
from remus_ha.lab.shell import Shell

_READY = b"READY"
_TAIL = 65536
_UNLIMITED = 1 << 40
_LOAD = "/run/lab-load.pid"
# Few large files. Nothing is left for the emulated host to initialise: a new file is all zeros.
_DATA_OPTIONS = (
    *("-L", "data", "-m", "0", "-N", "16384", "-J", "size=16"),
    *("-E", "lazy_itable_init=0,lazy_journal_init=1"),
)


class Host:
    """One host of a running lab. Every verb may be repeated."""

    def __init__(self, plan: HostPlan, network: Network, images: Images, files: HostFiles) -> None:
        self.plan = plan
        self.name = plan.name
        self.files = files
        self._network = network
        self._images = images
        self.console: socket.socket | None = None
        self._seen = b""
        self.shell = Shell(network, plan, images.ssh_key, files.ssh)

    @property
    def process(self) -> Process | None:
        """Its QEMU, None when it is not running."""
        process = Process.read(self.files.pid)
        return process if process is not None and process.alive else None

    @property
    def running(self) -> bool:
        """Powered on, maybe hung."""
        return self.process is not None

    @property
    def hung(self) -> bool:
        """Stopped by ``hang``."""
        process = self.process
        return process is not None and process.state == "T"

    def require(self) -> Process:
        """Its QEMU; HostDown."""
        process = self.process
        if process is None:
            raise HostDown(host=self.name)
        return process

    def start(self, names: list[str], machine: Machine) -> None:
        """Power on, on a fresh disk; ``boot.wait_ready`` must follow.

        The data disk is there and not mounted.
        """
        self._make_disk(self._images.disk, "raw")
        self._make_data(machine)
        self._launch(names, machine, incoming=False)

    def thaw(self, names: list[str], machine: Machine, frozen: Frozen) -> None:
        """Go on from a frozen state, on a fresh disk and the data disk as it was left.

        ``boot.wait_awake`` must follow; it mounts the data disk.
        """
        self._make_disk(frozen.disk, "qcow2")
        self._make_data(machine)
        self._launch(names, machine, incoming=True)
        self.close_console()
        with Qmp(self.files.monitor) as qmp:
            qmp.migrate("migrate-incoming", uri=f"exec:cat {shlex.quote(str(frozen.memory))}")
            qmp.execute("cont")

    def freeze(self, memory: Path) -> None:
        """Stop it for good: its memory goes to a file, its disk stays as it is then."""
        with Qmp(self.files.monitor) as qmp:
            qmp.execute("stop")
            qmp.execute("migrate-set-parameters", **{"max-bandwidth": _UNLIMITED})
            qmp.migrate("migrate", uri=f"exec:cat >{shlex.quote(str(memory))}")
        self.require().end(first=signal.SIGTERM)

    def _launch(self, names: list[str], machine: Machine, *, incoming: bool) -> None:
        self.shell.disconnect()
        path = self.files.directory / "console"
        for old in (path, self.files.console):
            old.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener, self._network.enter():
            listener.bind(str(path))
            listener.listen(1)
            self.console = socket.socket(socket.AF_UNIX)
            self.console.connect(str(path))
            fd = listener.fileno()
            words = command(
                self.plan,
                names,
                machine,
                self._images,
                self.files,
                emulator=emulator.ensure(),
                console_fd=fd,
                incoming=incoming,
            )
            run(words, pass_fds=[fd])
        pid = int(self.files.pid.with_suffix(".qemu").read_text())
        Process.of(pid).write(self.files.pid)

    def _make_disk(self, base: Path, form: str) -> None:
        self.files.directory.mkdir(parents=True, exist_ok=True)
        disk = self.files.disk
        disk.unlink(missing_ok=True)
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", form, "-b", base, disk])

    def _make_data(self, machine: Machine) -> None:
        """An empty file system, the first time; with a journal, for what befalls it."""
        data = self.files.data
        if data.exists():
            return
        half = data.with_name(f".{data.name}")
        with open(half, "wb") as file:
            file.truncate(machine.data_mib << 20)
        run(["mkfs.ext4", "-q", "-F", *_DATA_OPTIONS, half])
        half.rename(data)

    def read_console(self) -> bool:
        """Take what the booting console has; True once dom0 is ready. HostDied."""
        assert self.console is not None
        chunk = self.console.recv(65536)
        if not chunk:
            self._died()
        self._seen = (self._seen + chunk)[-_TAIL:]
        return _READY in self._seen

    def close_console(self) -> None:
        """Stop following the console; QEMU goes on writing it to its file."""
        if self.console is not None:
            self.console.close()
        self.console = None

    def _died(self) -> None:
        kept = cache.root() / f"died-{self.name}.log"
        shutil.copy(self.files.console, kept)
        tail = self._seen[-1000:].decode(errors="replace").strip()
        raise HostDied(host=self.name, tail=tail, log=str(kept))

    def cut(self) -> None:
        """Take its power away: QEMU is killed, nothing is flushed, nothing is said."""
        process = self.process
        if process is not None:
            process.end()
        self.shell.disconnect()

    def hang(self) -> None:
        """Stop it in the middle of whatever it does. HostDown."""
        self.require().send(signal.SIGSTOP)

    def unhang(self) -> None:
        """Let it go on, as if no time had passed for it. HostDown."""
        self.require().send(signal.SIGCONT)

    def set_plugged(self, link: Link, plugged: bool) -> None:
        """Plug or pull one of its cables."""
        self._network.set_plugged(self.plan, link, plugged)

    def slow(self, link: Link, rate: str | None) -> None:
        """Slow one of its cables down, both ways; None ends it. BadValue."""
        self._network.set_rate(self.plan, link, rate)

    def load(self, on: bool) -> None:
        """Keep dom0's processor busy, or stop that. HostDown, RemoteFailed."""
        self.require()
        stop = f'[ -e {_LOAD} ] && kill -9 "$(cat {_LOAD})" && rm {_LOAD}'
        start = f"setsid sh -c 'while :; do :; done' </dev/null >/dev/null 2>&1 & echo $! >{_LOAD}"
        self.shell.run(f"{stop}; {start}" if on else f"{stop}; true")

    @property
    def loaded(self) -> bool:
        """Whether ``load`` is on. HostDown, RemoteFailed."""
        self.require()
        return self.shell.run(f"test -e {_LOAD}", check=False).returncode == 0

    def remove(self) -> None:
        """Cut it and remove its files."""
        self.cut()
        self.close_console()
        shutil.rmtree(self.files.directory, ignore_errors=True)
        for file in (self.files.disk, self.files.data):
            file.unlink(missing_ok=True)
