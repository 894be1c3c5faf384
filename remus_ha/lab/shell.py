"""Commands on a host over ssh: one shared connection per host, so that a command is cheap."""

import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from remus_ha.lab.errors import RemoteFailed, SshFailed, TimedOut
from remus_ha.lab.network import Network
from remus_ha.lab.plan import HostPlan, Link
from remus_ha.lab.process import Process

_OPTIONS = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"),
    *("-o", "GSSAPIAuthentication=no", "-F", "none"),
)


class Shell:
    """Runs commands as root on one host, over its management link."""

    def __init__(self, network: Network, host: HostPlan, key: Path, control: Path) -> None:
        self._network = network
        self._host = host
        self._key = key
        self._control = control

    def argv(self, command: Sequence[str] = (), *, options: Sequence[str] = ()) -> list[str]:
        """Words of an ssh command; to be started inside the lab's namespace."""
        address = f"root@{self._host.address(Link.MGMT)}"
        shared = ("-i", str(self._key), "-S", str(self._control))
        return ["ssh", *_OPTIONS, *shared, *options, address, *command]

    def start_connecting(self) -> subprocess.Popen[bytes]:
        """Begin to open the shared connection; give the result to ``finish_connecting``."""
        self.disconnect()
        log = self._control.with_name("ssh.log")
        with self._network.enter(), open(log, "w") as stderr:
            return subprocess.Popen(
                self.argv(options=["-M", "-f", "-N"]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    def finish_connecting(self, child: subprocess.Popen[bytes], deadline: float) -> None:
        """Wait until the connection stands (time.monotonic seconds). SshFailed, TimedOut."""
        with child:
            try:
                status = child.wait(max(1.0, deadline - time.monotonic()))
            except BaseException as error:
                child.kill()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                what = f"an ssh connection to host {self._host.name}"
                raise TimedOut(what=what, seconds=error.timeout, where="its console") from error
        if status != 0:
            directory = self._control.parent
            raise SshFailed(
                host=self._host.name,
                output=(directory / "ssh.log").read_text(errors="replace").strip(),
                console=directory / "console.log",
            )
        self._remember_master()

    @property
    def _master(self) -> Path:
        return self._control.with_name("ssh.pid")

    def _remember_master(self) -> None:
        asked = subprocess.run(self.argv(options=["-O", "check"]), capture_output=True, text=True)
        digits = "".join(letter for letter in asked.stderr if letter.isdigit())
        if digits:
            Process.of(int(digits)).write(self._master)

    def disconnect(self) -> None:
        """End the shared connection, without asking the host."""
        master = Process.read(self._master)
        if master is not None:
            master.end()
        self._master.unlink(missing_ok=True)
        self._control.unlink(missing_ok=True)

    def popen(
        self,
        command: str,
        *,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        """Start a shell command on the host; the caller waits for it."""
        with self._network.enter():
            return subprocess.Popen(self.argv([command]), stdin=stdin, stdout=stdout, stderr=stderr)

    def run(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a shell command (or quoted words) on the host. RemoteFailed, TimedOut."""
        line = command if isinstance(command, str) else shlex.join(command)
        with self.popen(line, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE) as p:
            try:
                out, err = p.communicate(stdin, timeout=timeout_s)
            except BaseException as error:
                p.kill()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                where = f"host {self._host.name}"
                raise TimedOut(what=f"'{line}'", seconds=timeout_s, where=where) from error
        if check and p.returncode != 0:
            said = (err + out)[-2000:].decode(errors="replace").strip()
            raise RemoteFailed(
                command=line[:200], host=self._host.name, status=p.returncode, output=said
            )
        return subprocess.CompletedProcess(line, p.returncode, out, err)

    def text(self, command: str | Sequence[str], *, timeout_s: float = 60.0) -> str:
        """Standard output of a command that succeeds."""
        return self.run(command, timeout_s=timeout_s).stdout.decode(errors="replace")
