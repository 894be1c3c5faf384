"""Opening and shutting the vifs of a domain that is there already.

Open: the vif is in its bridge and up, or its own hotplug script has done what it does. Shut: its
link is down, so that netback leaves the guest's frames in their ring, and it is in no bridge.
Opening is on the way of a failover: where the vif only joins a bridge, no fork.
"""

import os
import socket
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

from remus_ha.hotplug import store
from remus_ha.hotplug.errors import VifNotOpened, VifNotShut
from remus_ha.hotplug.script import is_stock
from remus_ha.hotplug.store import VifRecord, VifState
from remus_ha.netbuf.rtnl import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    Batch,
    Channel,
    attribute,
    message,
)

OPEN_S = 10.0
RTM_SETLINK = 19
IFLA_MTU = 4
IFLA_MASTER = 10
IFF_UP = 1
_SCRIPTS = Path("/etc/xen/scripts")
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_NET = Path("/sys/class/net")
_BACKENDS = Path("/sys/bus/xen-backend/devices")
_IFINFOMSG = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")


def device_name(domid: int, devid: int) -> str:
    """What a vif is called: ``vif<domid>.<devid>`` unless its configuration gave it a name."""
    try:
        return next((_BACKENDS / f"vif-{domid}-{devid}" / "net").iterdir()).name
    except (OSError, StopIteration):
        return f"vif{domid}.{devid}"


def open_vif(mac: str, domid: int, devid: int) -> None:
    """Let a vif's frames go, now and whenever it comes up again in this boot. Idempotent.

    Its record tells bridge and script. Raises VifNotOpened.
    """
    vif = device_name(domid, devid)
    record = store.read(mac)
    if record is None:
        raise VifNotOpened(vif=vif, detail=f"no record of {mac}")
    store.write(replace(record, state=VifState.OPEN))
    if is_stock(record.original) and not _is_filtered():
        _join(vif, record)
    else:
        _run_script(vif, domid, devid, record)


def shut_vif(mac: str, domid: int, devid: int) -> None:
    """Keep a vif's frames from here on, and when it comes up again, also after a crash.

    Raises VifNotShut; the record says shut even then.
    """
    vif = device_name(domid, devid)
    record = store.read(mac) or VifRecord(mac=mac.lower(), state=VifState.SHUT)
    store.write(replace(record, state=VifState.SHUT))
    try:
        index = socket.if_nametoindex(vif)
        _transact(link(index, up=False), link(index, master=0))
    except OSError as e:
        raise VifNotShut(vif=vif, detail=e.strerror) from e


def link(
    index: int, *, up: bool | None = None, master: int | None = None, mtu: int | None = None
) -> bytes:
    """RTM_SETLINK; the kernel sets MTU, then master (0: none), then up or down."""
    attributes = b""
    if mtu is not None:
        attributes += attribute(IFLA_MTU, _U32.pack(mtu))
    if master is not None:
        attributes += attribute(IFLA_MASTER, _U32.pack(master))
    flags = IFF_UP if up else 0
    change = 0 if up is None else IFF_UP
    header = _IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, flags, change)
    return message(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, header + attributes)


def _is_filtered() -> bool:
    """Whether bridged frames pass iptables; then Xen's own script knows what rules they need."""
    try:
        return _BRIDGE_FILTER.read_text().strip() != "0"
    except OSError:
        return False


def _join(vif: str, record: VifRecord) -> None:
    """Into the bridge with the bridge's MTU, and up."""
    try:
        master = socket.if_nametoindex(record.bridge)
        mtu = int((_NET / record.bridge / "mtu").read_text())
        _transact(link(socket.if_nametoindex(vif), up=True, master=master, mtu=mtu))
    except OSError as e:
        raise VifNotOpened(vif=vif, detail=f"{e.strerror} (bridge {record.bridge!r})") from e


def _transact(*messages: bytes) -> None:
    """Raises RequestRefused, an OSError."""
    channel = Channel()
    try:
        channel.transact(Batch(messages))
    finally:
        channel.close()


def _run_script(vif: str, domid: int, devid: int, record: VifRecord) -> None:
    """The guest's own script, called as libxl calls it."""
    script = _SCRIPTS / (record.original if not is_stock(record.original) else "vif-bridge")
    environment = {
        **os.environ,
        "script": str(script),
        "vif": vif,
        "XENBUS_TYPE": "vif",
        "XENBUS_PATH": f"/local/domain/0/backend/vif/{domid}/{devid}",
        "XENBUS_BASE_PATH": "backend",
    }
    command = [str(script), "online", "type_if=vif"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=OPEN_S
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise VifNotOpened(vif=vif, detail=str(e)) from e
    if done.returncode:
        raise VifNotOpened(vif=vif, detail=done.stderr.strip() or f"status {done.returncode}")
