"""Primary and backup of one guest, whole, in two threads of this process.

Everything is the product's but for the hypervisor: the guest and its buffer are those of
``guest``, the memory copier is a scripted helper, the restoring process is ``cat`` into a file
and then half a second's work (a copy lives once it has ended by itself with an epoch in it).
Control and data go through ``wire``, the register is a ``Store``.
"""

import contextlib
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remus_ha import rundir
from remus_ha.caretaker import CareLink
from remus_ha.checkpoint import process as primary_process
from remus_ha.checkpoint.__main__ import relay_of
from remus_ha.checkpoint.arrange import NOWHERE
from remus_ha.checkpoint.process import Primary
from remus_ha.checkpoint.session import Session, SessionDisk
from remus_ha.control_socket import NotRunning, ask
from remus_ha.core.register import Kind, Register
from remus_ha.core.witness import Ledger
from remus_ha.disk import tls
from remus_ha.disk.spec import DiskSpec
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.errors import CommandFailed, DiskChanged, NotEnoughMemory
from remus_ha.hypervisor.xen.helper import SaveHelper
from remus_ha.kept import Kept
from remus_ha.killpoint import KillPoint
from remus_ha.receive import process as backup_process
from remus_ha.receive import replica as replica_module
from remus_ha.receive.__main__ import await_primary
from remus_ha.receive.incoming import Incoming
from remus_ha.receive.process import Backup
from remus_ha.receive.request import Reply, Request, parse_reply
from remus_ha.stream.credentials import Credentials, create, encode_certificate
from remus_ha.stream.modes import Tls
from remus_ha.stream.mover import grow_pipe
from remus_ha.stream.xenstream import CHECKPOINT_END, preamble
from remus_ha.witness.asker import Asker
from remus_ha.witness.base import WitnessDriver
from remus_ha.witness.none import NoWitness, is_none
from tests.functional.checkpoint.guest import Buffer, Guest, Silence, Store, StoreWitness, Story
from tests.functional.checkpoint.wire import Wire
from tests.functional.hypervisor.fake_helper import install, numbered
from tests.unit.hypervisor.xen.listing import UUID, pvh

NAME = "web1"
CONFIG: dict[str, Any] = {**pvh()["config"], "nics": []}
SIZE = 5000
DEADLINE_S = 20.0


class PrimaryXen:
    """In place of XenDriver on the primary."""

    version = "4.17"

    def __init__(self, bench: "Pair") -> None:
        self._bench = bench

    def control(self, domid: int, *, watch: bool = True) -> Guest:
        return self._bench.guest

    def save(self, domid: int, stream_fd: int, log: Callable[[str], None]) -> SaveHelper:
        path = install(self._bench.root, self._bench.scenario)
        return SaveHelper(path, domid, stream_fd, log)

    def watch_devices(self, domid: int, disks: dict[str, int], macs: list[str]) -> "PluggedDevices":
        self._bench.plugged = PluggedDevices()
        return self._bench.plugged

    def domain_of(self, uuid: str) -> tuple[int, str] | None:
        """What an earlier process has created."""
        return self._bench.created

    def create(self, text: str, name: str, *, minded: bool = True) -> int:
        assert f'uuid = "{UUID}"' in text
        if not self._bench.can_create:
            raise CommandFailed(command="xl create", detail="no memory")
        self._bench.story(f"created {name}")
        return 8


class PluggedDevices:
    """In place of DeviceWatch. ``looks``: how often the change has been seen."""

    def __init__(self) -> None:
        self.looks = 0
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._change: DiskChanged | None = None

    def become(self, what: str) -> None:
        self._change = DiskChanged(vdev="xvdb", what=what)
        os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        return self._fd

    def change(self) -> DiskChanged | None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        self.looks += self._change is not None
        return self._change

    def close(self) -> None:
        os.close(self._fd)


class HelperStarts:
    """In place of Savers: the restore's helper has just been started."""

    def __init__(self) -> None:
        self._fd = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def drain(self) -> None:
        os.eventfd_read(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Restore:
    """In place of ``xl migrate-receive``, and of XenDriver on the backup."""

    version = "4.17"

    def __init__(self, root: Path, story: Story) -> None:
        self.path = root / "restored"
        self._story = story
        self.destroyed = False
        self.paused = False
        self.fails = False
        self.has_memory = True
        self.claims: list[int] = []
        read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        grow_pipe(self.write_end, 1 << 20)
        self.seal = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.write_end, False)
        with self.path.open("wb") as out:
            self.process = subprocess.Popen(
                ["sh", "-c", "cat; sleep 0.5"], stdin=read_end, stdout=out, start_new_session=True
            )
        os.close(read_end)

    def domain_of(self, uuid: str) -> tuple[int, str] | None:
        """A copy that can live, or the domain that is still being restored."""
        status = self.process.poll()
        if self.destroyed or self.fails:
            return None
        if status != 0:  # still restoring, or killed: then its domain is left over
            return (41, f"{NAME}--incoming")
        return (42, NAME) if CHECKPOINT_END in self.path.read_bytes() else None

    def helper_starts(self) -> HelperStarts:
        return HelperStarts()

    def claim_memory(self, domid: int, kib: int) -> str:
        if not self.has_memory:
            raise NotEnoughMemory(free_mib=1, needed_mib=kib // 1024)
        self.claims.append(kib)
        return ""

    def life_of(self, domid: int) -> Life:
        return Life.PAUSED if self.paused else Life.RUNNING

    def xl(self, *arguments: str) -> str:
        if arguments[0] == "destroy":
            self.destroyed = True
            self._story(f"destroy {arguments[1]}")
            return ""
        raise CommandFailed(command=f"xl {arguments}", detail="not here")

    def control(self, domid: int, *, watch: bool = True) -> "Restore":
        return self

    def pause(self) -> None:
        self.paused = True

    def unpause(self) -> None:
        self.paused = False

    def close(self) -> None:
        """As a DomainControl."""

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Side:
    """One per-guest process in a thread, with its caretaker's end of the link."""

    def __init__(self, work: Callable[[CareLink], object]) -> None:
        self.caretaker, theirs = socket.socketpair()
        self.result: object = None
        self.error: BaseException | None = None
        self.link = CareLink(theirs.detach(), self._replace)
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._work(self.link)
        except BaseException as e:  # what would have ended the process
            self.error = e

    def _replace(self, link_fd: int, _holds: bool) -> None:
        """Its end stays open: a side that outlives its test would look for another for ever."""
        self._successor = os.dup(link_fd)

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, seconds: float = DEADLINE_S) -> object:
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "still running at the deadline"
        if self.error is not None:
            raise self.error
        return self.result

    def said(self) -> bytes:
        """What the caretaker has heard, without the beats."""
        self.caretaker.setblocking(False)
        octets = b""
        try:
            while piece := self.caretaker.recv(65536):
                octets += piece
        except BlockingIOError:
            pass
        return octets.replace(b".", b"")


class Pair:
    """``start`` begins a session; what may be set before that: scenario, times, accidents."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A unix socket's path has to be short.
        self.root = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))
        monkeypatch.setattr(rundir, "ROOT", self.root / "run")
        monkeypatch.setattr(rundir, "STATE", self.root / "state")
        monkeypatch.setattr(rundir, "LOGS", self.root / "log")
        (self.root / "log").mkdir()
        self.story = Story()
        self.guest = Guest(self.story)
        self.buffer = Buffer(self.story, self.guest)
        self.store = Store()
        self.scenario = f'helper.remus(b"live" * 100, {SIZE})'
        self.interval_ms, self.detect_ms = 20, 1000
        self.on_reboot = "restart"
        self.can_create = True
        self.created: tuple[int, str] | None = None
        self.witness = "etcd://127.0.0.1:1"
        self.blackhole = False
        self.session = secrets.token_hex(16)
        self.disks: dict[str, int] = {}  # octets of each
        self.paths: dict[str, Path] = {}  # of their images on the primary, where it looks at them
        self.disk_entry = "tests.functional.checkpoint.straight:StraightDisks"
        self.disk_ack, self.disk_format = "received", "raw"
        self.disk_limit = 1 << 30
        self.tls = Tls.DISABLED.value
        self.rate_mbit_s = 0  # of the memory stream, 0: any
        self.disk_rate = 0  # octets/s of the first copy, 0: any
        self.disk_key = tls.create()
        self.restore = Restore(self.root, self.story)
        self.plugged: PluggedDevices
        self.primary: Side
        self.backup: Side
        self.primary_process: Primary
        self.backup_process: Backup
        self.wires: list[Wire] = []
        self._own = create()
        self._replies: queue.Queue[bytes] = queue.Queue()
        monkeypatch.setattr(primary_process, "XenDriver", lambda: PrimaryXen(self))
        monkeypatch.setattr(primary_process, "Savers", Silence)
        monkeypatch.setattr(backup_process, "XenDriver", lambda: self.restore)
        monkeypatch.setattr(replica_module, "XenDomain", Restore)
        monkeypatch.setattr(replica_module, "xl", self.restore.xl)

    # --- starting

    def start(self) -> None:
        reply = self.start_backup()
        self.wires = [Wire(reply.control_port), Wire(reply.data_port)]
        self.start_primary(reply)

    def start_blackhole(self) -> None:
        """Checkpoints into nothing: there is no backup, and no witness is asked."""
        self.blackhole, self.witness = True, "none:"
        self.start_primary(NOWHERE)

    def request(self, own: Credentials) -> Request:
        return Request(
            session=self.session,
            guest_uuid=UUID,
            guest_name=NAME,
            memory_kib=65536,
            vcpus=1,
            kind="pvh",
            config=CONFIG,
            vifs=(),
            primary_host="a",
            primary_nonce="nonce-a",
            xen_version="4.17",
            witness=self.witness,
            witness_life="" if is_none(self.witness) else self.store.life,
            detect_ms=self.detect_ms,
            certificate=encode_certificate(own.certificate),
            wall_clock_s=time.time(),
            disks=tuple(
                DiskSpec(
                    vdev=vdev,
                    path=str(self.image(vdev)),
                    size=size,
                    ack=self.disk_ack,
                    identity="",
                    overwrite=False,
                    limit=self.disk_limit,
                    generation=0,
                    format=self.disk_format,
                )
                for vdev, size in self.disks.items()
            ),
            disk_key=self.disk_key,
            forced=False,
            tls=self.tls,
            minded=True,
            libvirt={},
            rate_mbit_s=self.rate_mbit_s,
        )

    def image(self, vdev: str) -> Path:
        """A disk's image on the backup."""
        return self.root / f"{vdev}.img"

    def start_backup(self) -> Reply:
        incoming = Incoming(self.request(self._own), "b", "nonce-b", "127.0.0.1", 0)
        incoming.save()

        def work(link: CareLink) -> object:
            witness = self._driver("b")
            # A host of its own, with nothing on its disk: what is there is the primary's.
            kept = Kept("backup", UUID, durable=False)
            kept.begin()
            self.backup_process = Backup(
                incoming=incoming,
                restore_pid=self.restore.process.pid,
                held=(self.restore.write_end, *self.restore.seal),
                driver=witness,
                asker=Asker(witness, 1.0),
                kept=kept,
                link=link,
                killpoint=KillPoint(),
            )
            return self.backup_process.receive(
                *await_primary(
                    incoming, link, self._replies.put, self.backup_process.start_stores()
                )
            )

        self.backup = Side(work)
        return parse_reply(self._replies.get(timeout=DEADLINE_S))

    def _driver(self, party: str) -> WitnessDriver:
        return NoWitness() if is_none(self.witness) else StoreWitness(self.store, party)

    def start_primary(self, reply: Reply) -> None:
        self._run_primary(self._session(reply, *self.wires), resumes=False)

    def restart_primary(self, known: Ledger) -> None:
        """The process that takes the place of one that died, knowing what that had written down."""
        reply = Reply("127.0.0.1", 1, 1, "", "b", "nonce-b", wall_clock_s=0.0)
        Kept("primary", UUID, durable=not is_none(self.witness)).keep(known, None)
        self._run_primary(self._session(reply), resumes=True)

    def _session(self, reply: Reply, *wires: Wire) -> Session:
        control, data = wires or (None, None)
        return Session(
            session=self.session,
            uuid=UUID,
            name=NAME,
            domid=7,
            host="a",
            nonce="nonce-a",
            peer_host=reply.backup_host,
            peer_nonce=reply.backup_nonce,
            peer_address="127.0.0.1",
            control_port=control.port if control else 1,
            data_port=data.port if data else 1,
            peer_certificate=reply.certificate,
            witness=self.witness,
            witness_entry="",
            blackhole=self.blackhole,
            tls=reply.tls,
            rate_mbit_s=self.rate_mbit_s,
            netbuf_entry="",
            interval_ms=self.interval_ms,
            detect_ms=self.detect_ms,
            on_poweroff="destroy",
            on_reboot=self.on_reboot,
            on_crash="destroy",
            vifs=(),
            disks=tuple(
                SessionDisk(vdev, str(self.paths.get(vdev, "/none")), f"{vdev}-raw", size, port)
                for (vdev, size), port in zip(self.disks.items(), reply.disk_ports, strict=True)
            ),
            disk_entry=self.disk_entry,
            disk_rate=self.disk_rate,
            config=CONFIG,
            product_version="",
            all_disks=self.disks,
        )

    def _run_primary(self, session: Session, *, resumes: bool) -> None:
        session.save()

        def work(link: CareLink) -> object:
            witness = self._driver("a")
            kept = Kept("primary", UUID, durable=not is_none(self.witness))
            if not resumes:
                kept.begin()
            self.primary_process = Primary(
                session=session,
                credentials=None if resumes else self._own,
                relay=relay_of(session, None if resumes else self._own),
                buffer=self.buffer,
                witness=witness,
                asker=Asker(witness, 1.0),
                kept=kept,
                link=link,
                killpoint=KillPoint(),
                resumes=resumes,
            )
            return self.primary_process.run()

        self.primary = Side(work)

    # --- looking

    def status(self, role: str = "primary") -> dict[str, Any]:
        """As ``remus-ha status`` sees it; {} where nobody answers."""
        try:
            return dict(ask(rundir.control_socket(role, UUID), UUID, {"command": "status"}))
        except NotRunning:
            return {}

    def result(self, role: str = "primary") -> Any:
        return rundir.read_json(rundir.directory(role, UUID) / "result.json")

    def wait(self, condition: Callable[[], bool], seconds: float = DEADLINE_S) -> None:
        until = time.monotonic() + seconds
        while not condition():
            told = (self.status(), self.status("backup"), self.store.history)
            assert time.monotonic() < until, f"not so by the deadline: {told}"
            time.sleep(0.02)

    def wait_protected(self, epochs: int = 3) -> None:
        self.wait(lambda: self.status().get("state") == "protected")
        self.wait(lambda: self.status().get("acked", -1) >= epochs)

    def expected_octets(self, epochs: int) -> bytes:
        """What the restoring process has to have got by the commit of that many epochs."""
        octets = preamble(self._config_json()) + b"live" * 100
        for n in range(epochs):
            octets += numbered(n, SIZE) + CHECKPOINT_END
        return octets

    def _config_json(self) -> bytes:
        import json

        return json.dumps(self.backup_process._vifs.substituted()).encode()

    # --- accidents

    def silence(self) -> None:
        """The replication link is pulled: nothing comes through, nobody is told."""
        for wire in self.wires:
            wire.silent = True

    def cut(self) -> None:
        """The replication link's connections break."""
        for wire in self.wires:
            wire.cut()

    def pause(self) -> None:
        """The operator's pause, which a guest takes only while it runs."""

        def is_paused() -> bool:
            self.guest.pause()
            return self.guest.life() is Life.PAUSED

        self.wait(is_paused)

    def unprotect(self) -> None:
        ask(rundir.control_socket("primary", UUID), UUID, {"command": "unprotect"})

    def close(self) -> None:
        """Whoever is still there reads that the guest was stopped, and ends."""
        self.store.life = "one"
        self.store.away.clear()
        self.store.delay_s.clear()
        self.store.register = Register(1 << 40, Kind.NONE, None)
        for wire in self.wires:
            wire.close()
        self.guest.obey_s = 0.0
        for side in (getattr(self, "primary", None), getattr(self, "backup", None)):
            if side is not None:
                side._thread.join(10)
                side.caretaker.close()
        self.restore.end()
        shutil.rmtree(self.root, ignore_errors=True)
