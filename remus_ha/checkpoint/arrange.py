"""Arranging a protection: check both sides, start the receiver, then the guest's process.

Nothing is changed on either host before all checks of that host have passed; whatever fails
afterwards leaves the guest running and untouched.
"""

import base64
import contextlib
import copy
import importlib
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from remus_ha import kept, rundir, shares
from remus_ha.caretaker import start_loaded
from remus_ha.checkpoint import admission, guardian
from remus_ha.checkpoint.__main__ import main as process_main
from remus_ha.checkpoint.admission import AlreadyProtected
from remus_ha.checkpoint.receiver import CHECK, Receiver
from remus_ha.checkpoint.session import Session, SessionDisk, SessionVif, ends_of, restarts
from remus_ha.checkpoint.wish import DRIVERS, Wish
from remus_ha.disk import tls
from remus_ha.disk.base import DiskDriver
from remus_ha.disk.errors import DiskError, DriverFormat
from remus_ha.disk.identity import identity_of
from remus_ha.disk.lineage import generation_of
from remus_ha.disk.spec import DiskSpec
from remus_ha.disk.tapdisk.classic import standing
from remus_ha.disk.target import clashes
from remus_ha.exceptions import RemusError
from remus_ha.hotplug import records, starts
from remus_ha.hypervisor.base import Guest, Vif
from remus_ha.hypervisor.libvirt import custody
from remus_ha.hypervisor.libvirt.errors import LibvirtError
from remus_ha.hypervisor.libvirt.managed import Managed
from remus_ha.hypervisor.xen import xlconfig
from remus_ha.hypervisor.xen.disks import ServedDisk
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.loading import entry_point, load
from remus_ha.netbuf.base import NetbufDriver
from remus_ha.netbuf.precheck import vif_obstacles
from remus_ha.receive.request import (
    CHECKED,
    Reply,
    Request,
    VifSpec,
    parse_refusals,
    parse_reply,
    to_line,
)
from remus_ha.shares import Share
from remus_ha.stream.credentials import Credentials, create, save_key
from remus_ha.stream.modes import Tls
from remus_ha.witness.load import open_witness
from remus_ha.witness.none import is_none

WITNESS_S = 5.0
JOURNAL_LIMIT = 1 << 30  # octets that a disk's store may set aside before it slows the guest down
GUARDIAN = "remus_ha.checkpoint.guardian"
CLASSIC = "classic"  # the driver of disks that daemons serve
SKEW_S = 1.0


class Unencrypted(RemusError):
    code = "PROTECT-034"
    cause = "'{host}' takes the guest's memory only in the clear"
    remedy = "Look at the backup's log; --tls disabled -F sends it in the clear."


def own_script(vif: Vif) -> str:
    """The guest's own hotplug script: after a failover ours stands in for it."""
    record = records.read(vif.mac) if vif.script == str(records.SCRIPT) else None
    return record.original if record else vif.script


def mapped(path: str, rules: tuple[tuple[str, str], ...]) -> str:
    """Where a disk's image lies on the backup: the longest rule that is its path, or above it."""
    for here, there in sorted(rules, key=lambda rule: -len(rule[0])):
        if path == here:
            return there
        if path.startswith(here.rstrip("/") + "/"):
            return there.rstrip("/") + path[len(here.rstrip("/")) :]
    return path


# What stands for the backup's reply where there is no backup (--blackhole).
NOWHERE = Reply("", 0, 0, "", "blackhole", "", wall_clock_s=0.0)


def unfit(driver: type[DiskDriver], name: str, disks: list[ServedDisk]) -> Iterator[DriverFormat]:
    """Why some disks of the guest ``name`` cannot be replicated by such a driver."""
    for disk in disks:
        if disk.format not in driver.formats:
            yield DriverFormat(vdev=disk.vdev, name=name, format=disk.format)


class Arrangement:
    """One attempt to protect one guest. Raises RemusError all along.

    ``begin`` is for a wish without refusals and an arrangement without obstacles.
    """

    def __init__(self, wish: Wish, receiver: Receiver) -> None:
        self.wish, self._receiver = wish, receiver
        self.xen = XenDriver()
        self.guest: Guest = self.xen.find(wish.domain)
        self._all_disks = self.xen.all_disks(self.guest.domid)
        self._disks: list[ServedDisk] = []
        if wish.mirrors_disks:
            self._disks = self.xen.disks(self.guest)
        self._daemons = [disk.uri for disk in self._disks if disk.uri]
        self._disk_entry = self._driver_of_disks()
        self._disk_key = tls.create() if self._disks else ""
        self._base = 0
        self._managed: Managed | None = None
        self._unknown: list[RemusError] = []  # whether it is libvirt's
        self._witness_life = ""  # once the witness has been asked
        self._unready: list[RemusError] = []
        try:
            self._base = standing.base_of(self._daemons)
        except RemusError as e:
            self._unready.append(e)
        try:
            self._managed = custody.find(self.guest.name, self.guest.uuid)
        except LibvirtError as e:
            self._unknown.append(e)
        self.warnings: list[str] = []

    def _driver_of_disks(self) -> str:
        """Its import path. Where none takes all disks, the last one says which it does not."""
        if self._daemons:
            return entry_point("remus_ha.disk", CLASSIC)
        if self.wish.disk_entry:
            return self.wish.disk_entry
        entries = [entry_point("remus_ha.disk", name) for name in DRIVERS]
        return next((entry for entry in entries if self._may_suit(entry)), entries[-1])

    def _may_suit(self, entry: str) -> bool:
        """Also one that cannot be loaded: that is an obstacle of its own, where there are disks."""
        try:
            return not self._disks or not any(unfit(load(entry), self.guest.name, self._disks))
        except RemusError:
            return True

    def obstacles(self) -> list[RemusError]:
        """Every reason found on this host and in the witness."""
        found = [*self._already(), *self._unknown]
        found += self.xen.obstacles(self.guest, disks_may_differ=not self.wish.mirrors_disks)
        found += self._driver_obstacles()
        found += self._target_obstacles()
        found += self._restart_obstacles()
        found += self._start_obstacles()
        if self.wish.buffer_net:
            vifs = [vif.name for vif in self.guest.vifs]
            found += vif_obstacles(vifs, self.wish.netbuf_script)
        if not self.wish.blackhole:
            found += admission.obstacles(self._share())
        found += self._witness_obstacles()
        return found

    def _share(self) -> Share:
        """What the protection takes of this host's replication link."""
        guest, wish = self.guest, self.wish
        return Share("primary", guest.uuid, guest.name, wish.host, 0, wish.rate_mbit_s)

    def _already(self) -> list[RemusError]:
        running = any(rundir.is_running(role, self.guest.uuid) for role in rundir.ROLES)
        return [AlreadyProtected(name=self.guest.name)] if running else []

    def _driver_obstacles(self) -> list[RemusError]:
        """Disks that the chosen driver cannot replicate."""
        if not self._disks:
            return []
        try:
            driver: type[DiskDriver] = load(self._disk_entry)
        except RemusError as e:
            return [e]
        return self._unready + list(unfit(driver, self.guest.name, self._disks))

    def _target_obstacles(self) -> list[DiskError]:
        """Paths on the backup that two disks are mapped onto."""
        if not self._disks:
            return []
        config = self._config(self.wish.disk_map)
        return clashes(self._disk_specs(), config, self.wish.host, os.path.normpath)

    def _restart_obstacles(self) -> list[RemusError]:
        """While it is protected its reboots are ours to do."""
        config = self.guest.config
        if not any(restarts(action) for action in ends_of(config).values()):
            return []
        try:
            xlconfig.render(config)
        except RemusError as e:
            return [e]
        return []

    def _start_obstacles(self) -> list[RemusError]:
        """This host may come back and start its old copy: its vifs have to come up shut."""
        guest = self.guest
        if self.wish.blackhole:
            return []
        # What libvirt would start by itself or open comes into our custody.
        guarded = self._managed is not None and custody.is_guardable(self._managed)
        danger = starts.at_boot(guest.name, guest.uuid, libvirt=not guarded)
        if danger and not self.wish.force:
            return [danger]
        scripts = [v.script for v in guest.vifs]
        by_hand = None if guarded else starts.by_hand(guest.name, guest.uuid, scripts)
        told = danger or by_hand
        if told:
            self.warnings.append(f"{told}\n  {told.advice}")
        return []

    def _witness_obstacles(self) -> list[RemusError]:
        wish = self.wish
        if wish.witness is None:
            return []
        try:
            driver = open_witness(wish.witness, force=wish.force, entry=wish.witness_entry or None)
            try:
                driver.connect(WITNESS_S)
                reading = driver.read(self.guest.uuid, WITNESS_S)
            finally:
                driver.close()
        except RemusError as e:
            return [e]
        if is_none(wish.witness):
            return []
        self._witness_life = reading.incarnation
        return kept.obstacles(self.guest.uuid, wish.witness, reading.incarnation)

    def request(self, own: Credentials) -> Request:
        guest, wish = self.guest, self.wish
        return Request(
            session=secrets.token_hex(16),
            guest_uuid=guest.uuid,
            guest_name=guest.name,
            memory_kib=guest.memory_kib,
            vcpus=guest.vcpus,
            kind=guest.kind,
            config=self._config(wish.disk_map),
            vifs=tuple(VifSpec(v.devid, v.mac, v.bridge, own_script(v)) for v in guest.vifs),
            primary_host=socket.gethostname(),
            primary_nonce=rundir.identity(guest.uuid),
            xen_version=self.xen.version,
            witness=wish.witness or "none:",
            witness_life=self._witness_life,
            detect_ms=wish.detect_ms,
            certificate=base64.b64encode(own.certificate).decode(),
            wall_clock_s=time.time(),
            disks=self._disk_specs(),
            disk_key=self._disk_key,
            forced=wish.force,
            tls=wish.tls,
            minded=wish.minded and self._managed is None,
            libvirt=self._managed.as_dict() if self._managed else {},
            rate_mbit_s=wish.rate_mbit_s,
        )

    def _config(self, disk_map: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """libxl's configuration as a host may start the guest from it."""
        config = copy.deepcopy(self.guest.config)
        config["c_info"].pop("domid", None)
        for nic, vif in zip(config.get("nics", []), self.guest.vifs, strict=True):
            nic["script"] = own_script(vif)
        for disk in config.get("disks", []):
            if disk.get("pdev_path"):
                disk["pdev_path"] = mapped(disk["pdev_path"], disk_map)
        return config

    def _disk_specs(self) -> tuple[DiskSpec, ...]:
        wish = self.wish
        return tuple(
            DiskSpec(
                vdev=disk.vdev,
                path=disk.path if disk.uri else mapped(disk.path, wish.disk_map),
                size=disk.size,
                ack=wish.disk_ack,
                identity=identity_of(Path(disk.path)),
                overwrite=wish.disk_overwrite,
                limit=JOURNAL_LIMIT,
                generation=generation_of(Path(disk.path), self.guest.uuid, disk.vdev),
                format=disk.format,
                uri=disk.uri,
                base=self._base,
            )
            for disk in self._disks
        )

    def backup_obstacles(self) -> list[RemusError]:
        """Every reason of the backup's why it could not take the guest; nothing is started there.

        Raises BackupUnreachable, HandshakeRubbish.
        """
        if self.wish.blackhole:
            return []
        self._receiver.tell(to_line(self.request(create())), CHECK)
        line = self._receiver.answer(CHECK)
        return [] if line == CHECKED else parse_refusals(line)

    def begin(self) -> Session:
        """Start the receiver there and the guest's process here."""
        if self.wish.blackhole:
            return self._begin()
        admission.admit(self._share())
        try:
            return self._begin()
        except BaseException:
            shares.give_back("primary", self.guest.uuid)
            raise

    def _begin(self) -> Session:
        own = create()
        request = self.request(own)
        if self.wish.blackhole:
            reply = NOWHERE
        else:
            told_at = time.time()
            self._receiver.tell(to_line(request))
            self._preload()
            reply = parse_reply(self._receiver.answer())
            # It was made at some moment between.
            skew = max(told_at - reply.wall_clock_s, reply.wall_clock_s - time.time())
            if skew > SKEW_S:
                self.warnings.append(f"the hosts' clocks differ by {skew:.1f} s")
            self._check_tls(reply)
        self.warnings += reply.warnings
        session = self._session(request, reply)
        session.save()
        save_key(own, rundir.directory("primary", session.uuid) / "key")
        (rundir.directory("primary", session.uuid) / "result.json").unlink(missing_ok=True)
        self._prepare_disks(session.uuid)
        self._take_custody()
        self._start_guardian(session.uuid)
        return session

    def _check_tls(self, reply: Reply) -> None:
        """Raises Unencrypted."""
        missing = Unencrypted(host=self.wish.host)
        if not reply.tls and self.wish.tls == Tls.REQUIRED.value:
            raise missing
        if not reply.tls and self.wish.tls == Tls.OPPORTUNISTIC.value:
            self.warnings.append(str(missing))

    def _preload(self) -> None:
        """What the guest's process begins with; this host waits for the backup meanwhile."""
        with contextlib.suppress(RemusError, ImportError):  # the process will say so
            driver: type[NetbufDriver] = load(self.wish.netbuf_entry)
            for module in driver.imports:
                importlib.import_module(module)

    def _take_custody(self) -> None:
        """Raises LibvirtError."""
        if self._managed is not None:
            custody.take(self._managed, str(records.SCRIPT))

    def _prepare_disks(self, uuid: str) -> None:
        if self._disk_key:
            tls.save(self._disk_key, rundir.directory("primary", uuid) / "tls")

    def _session(self, request: Request, reply: Reply) -> Session:
        guest, wish = self.guest, self.wish
        return Session(
            session=request.session,
            uuid=guest.uuid,
            name=guest.name,
            domid=guest.domid,
            host=request.primary_host,
            nonce=request.primary_nonce,
            peer_host=reply.backup_host,
            peer_nonce=reply.backup_nonce,
            peer_address=reply.address,
            control_port=reply.control_port,
            data_port=reply.data_port,
            peer_certificate=reply.certificate,
            witness="none:" if wish.blackhole else request.witness,
            witness_entry="" if wish.blackhole else wish.witness_entry,
            blackhole=wish.blackhole,
            tls=reply.tls,
            netbuf_entry=wish.netbuf_entry,
            interval_ms=wish.interval_ms,
            detect_ms=wish.detect_ms,
            **ends_of(guest.config),
            vifs=tuple(SessionVif(v.devid, v.name, v.mac, v.bridge, v.script) for v in guest.vifs),
            disks=tuple(
                SessionDisk(d.vdev, d.path, d.node, d.size, port, d.uri, self._base, d.format)
                for d, port in zip(self._disks, reply.disk_ports, strict=True)
            ),
            disk_entry=self._disk_entry,
            disk_rate=wish.disk_rate,
            rate_mbit_s=wish.rate_mbit_s,
            config=self._config(()),
            product_version="",
            all_disks=self._all_disks,
            libvirt=self._managed is not None,
            netbuf_script=wish.netbuf_script,
            netbuf_partial=wish.force,
        )

    def _start_guardian(self, uuid: str) -> None:
        rundir.LOGS.mkdir(parents=True, exist_ok=True)
        path = rundir.LOGS / f"primary-{uuid}.log"
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            start_loaded(GUARDIAN, [uuid], lambda words: guardian.main(words, process_main), log)
        finally:
            os.close(log)
