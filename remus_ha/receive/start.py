"""What the starting channel runs on the backup: one line in, one line out, then it is done.

The receiver and its keeper are detached: the end of ssh, or of whatever the channel is, means
nothing to them.
"""

import copy
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from remus_ha import kept, rundir, shares
from remus_ha.caretaker import start_loaded
from remus_ha.disk import qemuimg
from remus_ha.disk.errors import BackingMissing, DiskNotThere
from remus_ha.disk.room import lacking
from remus_ha.disk.store.image import size_of
from remus_ha.disk.tapdisk.classic.standing import device_of
from remus_ha.disk.target import check_target, clashes, opened_as_they_are, storage_of
from remus_ha.exceptions import RemusError
from remus_ha.hotplug import starts
from remus_ha.hypervisor.base import Guest, Life, Vif
from remus_ha.hypervisor.libvirt import definition, managed
from remus_ha.hypervisor.xen.driver import XenDriver
from remus_ha.lines import read_line
from remus_ha.receive import admission, keeper
from remus_ha.receive.__main__ import main as receiver_main
from remus_ha.receive.incoming import Incoming
from remus_ha.receive.request import CHECKED, LIMIT, Request, parse_request, refusal
from remus_ha.witness.none import is_none

START_S = 90.0
KEEPER = "remus_ha.receive.keeper"


class AlreadyReceiving(RemusError):
    code = "RECV-005"
    cause = "this host is the backup of '{name}' already"
    remedy = "End that protection first: 'remus-ha unprotect {name}' on its primary."


class NoAddress(RemusError):
    code = "RECV-007"
    cause = "the name {host} of this host has no address"
    remedy = "Give one with 'remus-ha receive --address ADDRESS'."


class ReceiverSilent(RemusError):
    code = "RECV-006"
    cause = "the receiver did not start within {seconds:.0f} s"
    remedy = "Look at {log} on the backup."


def own_address() -> str:
    """The address by which the other side reached this host; else that of the host's name."""
    connection = os.environ.get("SSH_CONNECTION", "").split()
    if len(connection) == 4:
        return connection[2]
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError as e:
        raise NoAddress(host=socket.gethostname()) from e


def check(request: Request) -> list[RemusError]:
    """Why this host cannot take the guest, were there room; empty when it can."""
    found: list[RemusError] = []
    if rundir.is_running("backup", request.guest_uuid):
        found.append(AlreadyReceiving(name=request.guest_name))
    found += XenDriver().backup_obstacles(_guest(request), request.xen_version)
    if not is_none(request.witness):
        found += kept.obstacles(request.guest_uuid, request.witness, request.witness_life)
    danger = starts.at_boot(request.guest_name, request.guest_uuid)
    if danger and not request.forced:
        found.append(danger)
    return [
        *found,
        *_libvirt_obstacles(request),
        *_disk_obstacles(request),
        *_missing_disks(request),
    ]


def _libvirt_obstacles(request: Request) -> list[RemusError]:
    """What libvirt knows there has to be readable here once the primary is gone."""
    try:
        if request.libvirt:
            guest = managed.parse(request.libvirt, request.guest_name)
            for text in filter(None, (guest.live, guest.definition)):
                definition.moved(text, {})
    except RemusError as e:
        return [e]
    return []


def _disk_obstacles(request: Request) -> list[RemusError]:
    """Of each replicated disk, and of all of them together."""
    found: list[RemusError] = []
    fit = []
    for spec in request.disks:
        try:
            check_target(spec, request.guest_uuid)
            fit.append(spec)
        except RemusError as e:
            found.append(e)
    shared = clashes(request.disks, request.config, socket.gethostname(), storage_of)
    return [*found, *(shared or lacking(fit))]


def _missing_disks(request: Request) -> list[RemusError]:
    """Disks that the copy will open as they are here, and what they are based on."""
    found: list[RemusError] = []
    for disk in opened_as_they_are(request.config, request.disks):
        try:
            _check_there(disk["vdev"], Path(disk["pdev_path"]), disk.get("format", qemuimg.RAW))
        except RemusError as e:
            found.append(e)
    return found


def _check_there(vdev: str, path: Path, image_format: str) -> None:
    """Raises DiskNotThere, BackingMissing."""
    here = {"path": path, "vdev": vdev, "host": socket.gethostname()}
    if not _is_there(path):
        raise DiskNotThere(**here)
    if image_format == qemuimg.QCOW2:
        try:
            qemuimg.check_chain(path)
        except qemuimg.QemuImgFailed as e:
            raise BackingMissing(**here, detail=e.facts["detail"]) from e


def _is_there(path: Path) -> bool:
    """A device's name may be there with nothing behind it, as of a loop that has no file."""
    if not path.is_block_device():
        return path.exists()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return size_of(fd) > 0
    finally:
        os.close(fd)


def _guest(request: Request) -> Guest:
    vifs = tuple(Vif(v.devid, "", v.mac, v.bridge, v.script, 0) for v in request.vifs)
    return Guest(
        name=request.guest_name,
        uuid=request.guest_uuid,
        domid=0,
        kind=request.kind,
        memory_kib=request.memory_kib,
        vcpus=request.vcpus,
        life=Life.RUNNING,
        vifs=vifs,
        disks=(),
        passthrough=(),
        other_devices=(),
        config=request.config,
    )


def _with_devices(request: Request) -> dict[str, Any]:
    """The guest's configuration with this host's devices of the disks that daemons serve.

    Raises DaemonNotThere.
    """
    devices = {spec.vdev: device_of(spec) for spec in request.disks if spec.uri}
    config = copy.deepcopy(request.config)
    for disk in config.get("disks", []):
        if disk["vdev"] in devices:
            disk["pdev_path"] = devices[disk["vdev"]]
    return config


def admit(request: Request, *, only_look: bool = False) -> list[RemusError]:
    """Why there is no room for the guest. Where there is, it is its own from now on."""
    share = admission.share_of(request)
    with shares.Counter() as counter:
        found = admission.obstacles(share, counter, XenDriver())
        if not found and not only_look and not counter.add(share):
            found.append(AlreadyReceiving(name=request.guest_name))
    return found


def incoming_of(request: Request, address: str, port: int) -> Incoming:
    """The session that is to begin. Raises NoAddress, DaemonNotThere."""
    return Incoming(
        request=replace(request, config=_with_devices(request)),
        host=socket.gethostname(),
        nonce=rundir.identity(request.guest_uuid),
        address=address or own_address(),
        control_port=port,
    )


def start(incoming: Incoming) -> bytes:
    """Start keeper and receiver; the line they answer with. Raises RemusError."""
    uuid = incoming.request.guest_uuid
    directory = incoming.directory()
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("epochs", "promoted", "result.json", "reply.fifo"):
        (directory / name).unlink(missing_ok=True)
    incoming.save()
    fifo = directory / "reply.fifo"
    os.mkfifo(fifo, 0o600)
    # Read-write, so that the open does not wait and a writer that ends is no end of file.
    fd = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _start_keeper(uuid)
        return read_line(fd, time.monotonic() + START_S)
    except TimeoutError as e:
        raise ReceiverSilent(seconds=START_S, log=rundir.LOGS) from e
    finally:
        os.close(fd)


def _log_path(uuid: str) -> str:
    return str(rundir.LOGS / f"backup-{uuid}.log")


def _start_keeper(uuid: str) -> None:
    rundir.LOGS.mkdir(parents=True, exist_ok=True)
    log = os.open(_log_path(uuid), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    try:
        start_loaded(KEEPER, [uuid], lambda words: keeper.main(words, receiver_main), log)
    finally:
        os.close(log)


def _answer(request: Request, address: str, port: int, only_check: bool) -> bytes:
    obstacles = check(request)
    if only_check or obstacles:
        obstacles += admit(request, only_look=True)
        return refusal(*obstacles) if obstacles else CHECKED
    incoming = incoming_of(request, address, port)
    obstacles = admit(request)
    return refusal(*obstacles) if obstacles else start(incoming)


def serve(stdin: BinaryIO, stdout: BinaryIO, *, address: str, port: int, only_check: bool) -> int:
    """The whole of ``remus-ha receive``. Whatever goes wrong is said in the one line."""
    try:
        line = _answer(parse_request(stdin.readline(LIMIT + 1)), address, port, only_check)
    except RemusError as e:
        line = refusal(e)
    stdout.write(line)
    stdout.flush()
    return 0
