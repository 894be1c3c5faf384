"""Building and removing the way from a vif's ingress through a plug.

Guarantees: a port is complete before the first frame goes into it; another's queueing discipline
is never touched; what is taken over is never opened; an ifb is never taken down while in use,
because that would empty its plug and not the plug's counters.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.devices import PRIORITY, Devices, Link
from remus_ha.netbuf.errors import (
    DrainTimeout,
    ForeignIngress,
    LeftoverInTheWay,
    PlugMissing,
    VifVanished,
)
from remus_ha.netbuf.lease import Lease, ifb_name
from remus_ha.netbuf.messages import Queue, add_plug, get_root_qdisc, parse_qdisc
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import Batch, Channel, RequestRefused
from remus_ha.netbuf.script import VifScript

DRAIN_S = 5.0
_DRAIN_STEP_S = 0.002


@dataclass(frozen=True, slots=True)
class Port:
    """A vif and the ifb that its ingress goes to. ``source`` is None where the vif is gone.

    ``script`` has made it and is to take it down (``scripted.dismantle``); None: this module has.
    """

    source: Link | None
    ifb: Link
    script: VifScript | None = None


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds ports; ``undo`` collects what takes back the steps made so far."""

    devices: Devices
    channel: Channel
    undo: contextlib.ExitStack
    weaknesses: tuple[str, ...] = ()  # every frame is held

    def find_or_make(
        self, vif: VifRef, lease: Lease, limit_bytes: int, *, adopt: bool
    ) -> Port | None:
        """A port with its plug in place, not connected: no frame reaches a new one yet.

        A new plug buffers; one that is taken over does what it did. None with ``adopt`` for a vif
        that is gone and has left nothing.
        """
        source = self.devices.find(vif.name)
        if source is None and not adopt:
            raise VifVanished(device=vif.name)
        ifb = self.devices.find(ifb_name(vif))
        if source is None and ifb is None:
            return None
        if ifb is not None:
            _check_ours(ifb, lease, adopt)
        if source is not None:
            _check_ingress(self.devices, source, ifb)
        if ifb is None:
            ifb = self.devices.make_ifb(ifb_name(vif))
            self.undo.callback(self.devices.delete_link, ifb)
        self.devices.set_alias(ifb, lease.alias())
        if self.devices.root_kind(ifb) != "plug":
            self._add_plug(ifb, limit_bytes)
        self.devices.bring_up(ifb)
        return Port(source=source, ifb=ifb)

    def connect(self, port: Port) -> None:
        """From here on everything the guest sends goes by way of the plug."""
        if port.source is None:
            return
        if self.devices.ingress_kind(port.source) is None:
            self.devices.add_ingress(port.source)
            self.undo.callback(self.devices.delete_ingress, port.source)
        if not self.devices.redirects(port.source):
            self.devices.add_redirect(port.source, port.ifb)

    def _add_plug(self, ifb: Link, limit_bytes: int) -> None:
        try:
            self.channel.transact(Batch([add_plug(ifb.index, limit_bytes)]))
        except RequestRefused as e:
            raise refusal(e.code, ifb.name, "add a plug", missing=PlugMissing()) from e


def dismantle(devices: Devices, channel: Channel, ports: Sequence[Port], *, release: bool) -> None:
    """Remove ports; what of them is gone already is no error.

    With ``release`` the plugs pass already: they drain before the redirect goes, so that frames
    keep their order, and again before the ifb goes, so that none is lost. Without it the ifb goes
    first: a redirect to nowhere drops.
    """
    ifbs = [port.ifb for port in ports]
    if release:
        drain(devices, channel, ifbs)
    else:
        _delete(devices, ifbs)
    for port in ports:
        if port.source is not None:
            devices.delete_ingress(port.source)
    if release:
        drain(devices, channel, ifbs)
        _delete(devices, ifbs)


def _delete(devices: Devices, ifbs: Sequence[Link]) -> None:
    for ifb in ifbs:
        devices.delete_link(ifb)


def drain(devices: Devices, channel: Channel, ifbs: Sequence[Link]) -> None:
    """Wait until nothing is queued on or on its way through ``ifbs``. Nothing announces that."""
    deadline = time.monotonic() + DRAIN_S
    for ifb in ifbs:
        while backlog := _backlog(devices, channel, ifb):
            if time.monotonic() > deadline:
                raise DrainTimeout(ifb=ifb.name, backlog=backlog, timeout_s=DRAIN_S)
            time.sleep(_DRAIN_STEP_S)


def _backlog(devices: Devices, channel: Channel, ifb: Link) -> int:
    """Frames queued or between the plug and the vif; 0 for an ifb that is gone."""
    queues: list[Queue] = []

    def keep(_: int, payload: memoryview) -> None:
        queues.append(parse_qdisc(payload)[1])

    try:
        channel.transact(Batch([get_root_qdisc(ifb.index)]), keep)
    except RequestRefused:
        return 0
    now = devices.find(ifb.name)
    return sum(queue.backlog_packets for queue in queues) + (now.in_flight if now else 0)


def _check_ours(ifb: Link, lease: Lease, adopt: bool) -> None:
    """An ifb of our name is ours; where it has no alias its maker died before it was connected."""
    found = Lease.parse(ifb.alias)
    mine = found is None or found.guest == lease.guest
    if ifb.kind != "ifb" or not adopt or not mine:
        raise LeftoverInTheWay(
            vif=lease.vif,
            ifb=ifb.name,
            session=found.session if found else "unknown",
            guest=found.guest if found else "unknown",
        )


def _check_ingress(devices: Devices, source: Link, ifb: Link | None) -> None:
    """Raises ForeignIngress unless the vif's ingress is free or leads to ``ifb`` alone."""
    kind = devices.ingress_kind(source)
    if kind is None:
        return
    found = devices.redirects(source)
    ours = ifb is not None and all(
        r.everything and r.target == ifb.index and r.priority == PRIORITY for r in found
    )
    if kind != "ingress" or not ours or len(found) > 1:
        raise ForeignIngress(vif=source.name, kind=kind)
