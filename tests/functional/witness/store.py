"""A real etcd on loopback: one member or more, with the accidents that can befall it."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

START_S = 20.0
READY = b"ready to serve client requests"


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in socks:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in socks]


class Etcd:
    """One member. It keeps its ports and its data directory over restarts."""

    def __init__(self, home: Path, name: str = "one", extra: Sequence[str] = ()) -> None:
        self.home = home
        self.name = name
        self.port, self.peer_port = free_ports(2)
        self.data = home / f"{name}.etcd"
        self.cluster = f"{name}=http://127.0.0.1:{self.peer_port}"
        self.scheme = "http"
        self.extra = list(extra)
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}/test"

    def launch(self) -> None:
        """Start without waiting: a member of a cluster is ready only when others are."""
        client = f"{self.scheme}://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        self._ready.clear()
        self._process = subprocess.Popen(
            [
                "etcd", "--name", self.name, "--data-dir", str(self.data),
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", self.cluster,
                "--heartbeat-interval", "20", "--election-timeout", "200",
                *self.extra,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._drain, args=(self._process,), daemon=True).start()

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if READY in line:
                self._ready.set()

    def start(self) -> None:
        self.launch()
        self.wait_ready()

    def wait_ready(self) -> None:
        assert self._ready.wait(START_S), f"etcd {self.name} did not start"

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def freeze(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        assert self._process is not None
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def wipe(self) -> None:
        shutil.rmtree(self.data)

    def ctl(self, *args: str) -> str:
        """etcdctl against this member."""
        done = subprocess.run(
            ["etcdctl", "--endpoints", f"{self.scheme}://127.0.0.1:{self.port}", *args],
            env={**os.environ, "ETCDCTL_API": "3"},
            check=True, timeout=20, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    def restore(self, snapshot: Path, token: str) -> None:
        """Replace the data by a snapshot's; it must not be running."""
        self.wipe()
        self.ctl(
            "snapshot", "restore", str(snapshot), "--name", self.name,
            "--data-dir", str(self.data), "--initial-cluster", self.cluster,
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{self.peer_port}",
            "--initial-cluster-token", token,
        )  # fmt: skip


@contextlib.contextmanager
def running(etcd: Etcd) -> Iterator[Etcd]:
    """Start; whatever happens, end it."""
    try:
        etcd.start()
        yield etcd
    finally:
        etcd.kill()


@contextlib.contextmanager
def cluster(home: Path, names: Sequence[str]) -> Iterator[list[Etcd]]:
    """Several members of one store."""
    members = [Etcd(home, name) for name in names]
    everybody = ",".join(member.cluster for member in members)
    try:
        for member in members:
            member.cluster = everybody
            member.launch()
        for member in members:
            member.wait_ready()
        yield members
    finally:
        for member in members:
            member.kill()
