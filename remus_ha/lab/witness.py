"""The lab's witness: one etcd inside the lab's namespace, its data really synced to a disk."""

import os
import select
import shutil
import socket
import subprocess
from pathlib import Path

from remus_ha.lab.errors import StepFailed, TimedOut
from remus_ha.lab.network import Network
from remus_ha.lab.process import Process
from remus_ha.witness import admin

ADDRESS = "10.97.0.254"
PORT = 2379
URL = f"etcd://{ADDRESS}:{PORT}"
_CLIENTS = f"http://{ADDRESS}:{PORT}"
_PEER = "http://127.0.0.1:2380"


class Witness:
    """Start, stop and wipe it; every verb may be repeated."""

    url = URL

    def __init__(self, network: Network, run: Path, store: Path) -> None:
        self._network = network
        self._pid = run / "witness.pid"
        self._log = run / "witness.log"
        self._notify = run / "witness.notify"
        self._data = store / "witness"

    @property
    def process(self) -> Process | None:
        """Its process, None when it is not running."""
        process = Process.read(self._pid)
        return process if process is not None and process.alive else None

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None

    def start(self, timeout_s: float = 30.0) -> None:
        """Start it on the data that it has and wait until it serves. StepFailed, TimedOut."""
        if self.running:
            return
        self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self._notify))
            child = self._spawn()
            try:
                self._await_ready(notify, child, timeout_s)
            except BaseException:
                Process.of(child.pid).end()
                raise
            finally:
                self._notify.unlink(missing_ok=True)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        command = [
            *("etcd", "--name", "witness", "--data-dir", str(self._data)),
            *("--listen-client-urls", f"{_CLIENTS},http://127.0.0.1:{PORT}"),
            *("--advertise-client-urls", _CLIENTS, "--listen-peer-urls", _PEER),
            *("--initial-advertise-peer-urls", _PEER, "--initial-cluster", f"witness={_PEER}"),
        ]
        with self._network.enter(), open(self._log, "ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "NOTIFY_SOCKET": str(self._notify)},
            )
        Process.of(child.pid).write(self._pid)
        return child

    def _await_ready(
        self, notify: socket.socket, child: "subprocess.Popen[bytes]", timeout_s: float
    ) -> None:
        """etcd tells of its readiness as systemd asks it to (sd_notify(3))."""
        death = os.pidfd_open(child.pid)
        try:
            poll = select.poll()
            poll.register(notify, select.POLLIN)
            poll.register(death, select.POLLIN)
            ready = [fd for fd, _events in poll.poll(timeout_s * 1000)]
        finally:
            os.close(death)
        if not ready:
            raise TimedOut(what="etcd's start", seconds=timeout_s, where=str(self._log))
        if notify.fileno() not in ready:
            tail = self._log.read_text(errors="replace")[-1000:]
            raise StepFailed(command="etcd", status=child.wait(), output=tail)

    def stop(self) -> None:
        """Kill it; its data stays."""
        process = Process.read(self._pid)
        if process is not None:
            process.end()
        self._pid.unlink(missing_ok=True)

    def initialise(self) -> None:
        """Give an empty store its first incarnation; nothing happens to another one."""
        with self._network.enter():
            admin.initialise(URL)

    def wipe(self) -> None:
        """Kill it, lose its data, start it empty and not initialised, as after a disaster."""
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)
        self.start()

    def remove(self) -> None:
        """Kill it and remove its data."""
        self.stop()
        shutil.rmtree(self._data, ignore_errors=True)
