"""Looking, without touching any device of the host, whether output of some vifs can be buffered."""

import ctypes
import errno
import os
import threading
from collections.abc import Sequence

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.devices import Devices, Link
from remus_ha.netbuf.errors import (
    ForeignIngress,
    KernelRefused,
    LeftoverInTheWay,
    NetbufError,
    PlugMissing,
    VifVanished,
)
from remus_ha.netbuf.kernel import load_modules
from remus_ha.netbuf.lease import Lease
from remus_ha.netbuf.messages import add_plug
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import Batch, Channel, RequestRefused

_CLONE_NEWNET = 0x40000000
_PROBE_LIMIT_BYTES = 1 << 20


def vif_obstacles(vifs: Sequence[str]) -> list[RemusError]:
    """Why these vifs cannot be buffered; empty when they can."""
    found: list[RemusError] = []
    kernel = kernel_obstacle()
    if kernel is not None:
        found.append(kernel)
    with Devices() as devices:
        by_index = {link.index: link for link in devices.links()}
        by_name = {link.name: link for link in by_index.values()}
        for name in vifs:
            link = by_name.get(name)
            obstacle = _obstacle(devices, link, by_index) if link else VifVanished(device=name)
            if obstacle is not None:
                found.append(obstacle)
    return found


def kernel_obstacle() -> NetbufError | None:
    """What of the kernel is missing, found by building a buffer.

    It is built in a network namespace of a thread's own, which ends with the thread.
    """
    load_modules()
    found: list[NetbufError] = []

    def probe() -> None:
        try:
            _build_one()
        except NetbufError as e:
            found.append(e)

    thread = threading.Thread(target=probe, name="netbuf-probe")
    thread.start()
    thread.join()
    return found[0] if found else None


def _build_one() -> None:
    """A whole buffer between two devices of a new namespace. Raises what ``setup`` would raise."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        error = os.strerror(ctypes.get_errno() or errno.EPERM)
        raise KernelRefused(action="make a network namespace", device="the probe", error=error)
    channel = Channel()
    try:
        with Devices() as devices:
            source, ifb = devices.make_ifb("probe0"), devices.make_ifb("probe1")
            channel.transact(Batch([add_plug(ifb.index, _PROBE_LIMIT_BYTES)]))
            devices.add_ingress(source)
            devices.add_redirect(source, ifb)
    except RequestRefused as e:
        raise refusal(e.code, "the probe", "add a plug", missing=PlugMissing()) from e
    finally:
        channel.close()


def _obstacle(devices: Devices, vif: Link, by_index: dict[int, Link]) -> NetbufError | None:
    kind = devices.ingress_kind(vif)
    if kind is None:
        return None
    targets = [by_index.get(r.target or 0) for r in devices.redirects(vif)]
    lease = Lease.parse(targets[0].alias) if len(targets) == 1 and targets[0] else None
    if lease is None or targets[0] is None:
        return ForeignIngress(vif=vif.name, kind=kind)
    return LeftoverInTheWay(
        vif=vif.name, ifb=targets[0].name, session=lease.session, guest=lease.guest
    )
