"""Ports that the operator's script builds and takes down, and how far it is believed.

Guarantees: what a script has set up is looked at before a frame depends on it; a vif whose ingress
is somebody else's is not handed to it; what it has begun and not finished it is told to take back;
and where it does not, that is done in its place, so that no vif stays mute.
"""

import contextlib
import errno
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.devices import Devices, Link
from remus_ha.netbuf.errors import (
    ForeignIngress,
    LeftoverInTheWay,
    NetbufError,
    RedirectsTooLittle,
    ScriptIfbUnusable,
    VifVanished,
)
from remus_ha.netbuf.filters import shortfall
from remus_ha.netbuf.lease import Lease
from remus_ha.netbuf.messages import (
    TC_H_INGRESS,
    TC_H_ROOT,
    Action,
    change_plug,
    clear_alias,
    delete_qdisc,
)
from remus_ha.netbuf.ports import Port, drain
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import Batch, Channel, RequestRefused
from remus_ha.netbuf.script import SETUP_S, TEARDOWN_S, VifScript, open_store

LOG = logging.getLogger(__name__)

_GONE = (errno.ENODEV, errno.ENOENT, errno.EINVAL)
_NOWHERE = 0  # what a redirect leads to whose target was deleted


class ScriptBuilder:
    """Has ports built, by the verbs of ``ports.Builder``; ``undo`` gets what takes them back.

    ``partial``: a redirect of less than everything is taken as it is, and told in ``weaknesses``.
    """

    def __init__(
        self,
        devices: Devices,
        channel: Channel,
        undo: contextlib.ExitStack,
        path: str,
        *,
        partial: bool,
    ) -> None:
        self.weaknesses: list[str] = []
        self._devices, self._channel = devices, channel
        self._path, self._partial = path, partial
        self._begun: list[tuple[Link, VifScript]] = []
        self._deadline = time.monotonic() + SETUP_S
        undo.callback(self._take_back)

    def find_or_make(
        self, vif: VifRef, lease: Lease, limit_bytes: int, *, adopt: bool
    ) -> Port | None:
        """A port with its plug in place, through which the vif's frames go already.

        A new plug buffers; one that is taken over does what it did. None with ``adopt`` for a vif
        that is gone and has left nothing.
        """
        script = VifScript(self._path, vif.name, vif.domid, vif.devid)
        source = self._devices.find(vif.name)
        if source is None and not adopt:
            raise VifVanished(device=vif.name)
        ifb = self._left(source, lease, script) if adopt else None
        if source is not None:
            if ifb is None:
                ifb = self._make(source, lease, script, adopt=adopt)
            self._judge(source, ifb, script, partial=self._partial or adopt)
        if ifb is None:
            return None
        self._devices.set_alias(ifb, replace(lease, script=script).alias())
        # A plug does not tell its limit, and scripts differ: from here on it is ours.
        _tell(self._channel, ifb, change_plug(ifb.index, Action.LIMIT, limit_bytes))
        self._devices.bring_up(ifb)
        return Port(source=source, ifb=ifb, script=script)

    def connect(self, port: Port) -> None:
        """The script has done that."""

    def _left(self, source: Link | None, lease: Lease, script: VifScript) -> Link | None:
        """The ifb that an earlier process has had built for the vif, if it is whole.

        Its alias says so; where that process died before it was written, xenstore and the vif do.
        """
        for link in self._devices.links():
            known = Lease.parse(link.alias)
            ours = known and known.script and (known.vif, known.guest) == (lease.vif, lease.guest)
            if ours and self._is_whole(source, link):
                return link
        if source is None:
            return None
        with open_store() as store:
            name = script.ifb(store)
        named = self._devices.find(name) if name else None
        if named is None or Lease.parse(named.alias) is not None:
            return None
        return named if self._is_whole(source, named) else None

    def _is_whole(self, source: Link | None, ifb: Link) -> bool:
        leads = source is None or _leads(self._devices, source, ifb.index)
        return leads and ifb.kind == "ifb" and self._devices.root_kind(ifb) == "plug"

    def _make(self, source: Link, lease: Lease, script: VifScript, *, adopt: bool) -> Link:
        """Have one built. What an earlier call has left of one, the script takes back first."""
        with open_store() as store:
            before = script.ifb(store)
            self._check_ingress(source, lease, before if adopt else "")
            if before and not self._is_anothers(before, source):
                _tear_down(script, before, self._deadline)
            self._begun.append((source, script))
            name = script.setup(store, self._deadline)
        ifb = self._devices.find(name)
        if ifb is None:
            raise _unusable(script, name, "does not exist")
        return ifb

    def _check_ingress(self, source: Link, lease: Lease, half_made: str) -> None:
        """Raises ForeignIngress, LeftoverInTheWay unless it is free, or leads to ``half_made``."""
        kind = self._devices.ingress_kind(source)
        if kind is None:
            return
        targets = {one.target for one in self._devices.redirects(source)}
        behind = [link for link in self._devices.links() if link.index in targets]
        for link in behind:
            found = Lease.parse(link.alias)
            if found is not None and not (half_made and found.guest == lease.guest):
                raise LeftoverInTheWay(
                    vif=source.name, ifb=link.name, session=found.session, guest=found.guest
                )
        of_the_script = {link.index for link in behind if link.name == half_made}
        if kind != "ingress" or not half_made or targets - of_the_script:
            raise ForeignIngress(vif=source.name, kind=kind)

    def _judge(self, source: Link, ifb: Link, script: VifScript, *, partial: bool) -> None:
        """Raises ScriptIfbUnusable, RedirectsTooLittle unless every frame goes to a plug there."""
        if ifb.kind != "ifb":
            raise _unusable(script, ifb.name, "is no ifb")
        others = [one.name for one in self._devices.leading_to(ifb) if one.index != source.index]
        if others:
            raise _unusable(script, ifb.name, f"has frames of {', '.join(others)} already")
        kind = self._devices.ingress_kind(source)
        if kind not in (None, "ingress"):
            raise _unusable(script, ifb.name, f"is to get its frames by way of {kind}")
        if not _leads(self._devices, source, ifb.index):
            raise _unusable(script, ifb.name, "gets none of its frames")
        detail = shortfall(self._devices.redirects(source), ifb.index)
        if detail:
            facts = {"script": script.path, "vif": source.name, "ifb": ifb.name}
            weakness = RedirectsTooLittle(**facts, detail=detail)
            if not partial:
                raise weakness
            self.weaknesses.append(str(weakness))
        root = self._devices.root_kind(ifb)
        if root != "plug":
            raise _unusable(script, ifb.name, f"has {root or 'nothing'} as its root, no plug")

    def _take_back(self) -> None:
        """A set-up has failed: all that was begun goes, whatever else goes wrong with it."""
        deadline = time.monotonic() + TEARDOWN_S
        for source, script in reversed(self._begun):
            try:
                self._take_back_one(source, script, deadline)
            except RemusError as e:
                LOG.warning("%s", e)

    def _take_back_one(self, source: Link, script: VifScript, deadline: float) -> None:
        with open_store() as store:
            name = script.ifb(store)
        if name and self._is_anothers(name, source):
            name = ""  # named by mistake
        ifb = self._devices.find(name) if name else None
        _tear_down(script, name, deadline)
        if self._devices.ingress_kind(source) is not None:  # it was free before
            _tell(self._channel, source, delete_qdisc(source.index, TC_H_INGRESS), *_GONE)
        if ifb is not None:
            _forget(self._devices, self._channel, ifb)

    def _is_anothers(self, name: str, source: Link) -> bool:
        """Whether another vif than ``source`` has its frames redirected to that ifb."""
        ifb = self._devices.find(name)
        users = self._devices.leading_to(ifb) if ifb is not None else ()
        return any(user.index != source.index for user in users)


def dismantle(devices: Devices, channel: Channel, ports: Sequence[Port], *, release: bool) -> None:
    """Have ports removed by the script that made them; what it leaves is removed after it.

    With ``release`` the plugs pass already, and drain first. Without it the ifbs go down first:
    then nothing of what they hold gets out, whatever the script does.
    """
    ifbs = [port.ifb for port in ports]
    if release:
        drain(devices, channel, _plugged(devices, ifbs))
    else:
        for ifb in ifbs:
            devices.bring_down(ifb)
    deadline = time.monotonic() + TEARDOWN_S
    for port in ports:
        if port.script is not None:
            _tear_down(port.script, port.ifb.name, deadline)
    for port in ports:
        if port.source is not None and _leads(devices, port.source, port.ifb.index, _NOWHERE):
            devices.delete_ingress(port.source)
    if release:
        drain(devices, channel, _plugged(devices, ifbs))
    for ifb in ifbs:
        _forget(devices, channel, ifb)


def _plugged(devices: Devices, ifbs: Sequence[Link]) -> list[Link]:
    return [ifb for ifb in ifbs if devices.root_kind(ifb) == "plug"]


def _leads(devices: Devices, source: Link, *targets: int) -> bool:
    return any(one.target in targets for one in devices.redirects(source))


def _tear_down(script: VifScript, ifb: str, deadline: float) -> None:
    """A script that fails is complained of, and its work done in its place."""
    try:
        script.teardown(ifb, deadline)
    except NetbufError as e:
        LOG.warning("%s", e)


def _forget(devices: Devices, channel: Channel, ifb: Link) -> None:
    """An ifb that the script may keep is nobody's again, and holds nothing."""
    now = devices.find(ifb.name)
    if now is None or now.index != ifb.index:
        return
    if devices.root_kind(ifb) == "plug":
        _tell(channel, ifb, delete_qdisc(ifb.index, TC_H_ROOT), *_GONE)
    _tell(channel, ifb, clear_alias(ifb.index), *_GONE)


def _tell(channel: Channel, device: Link, request: bytes, *fine: int) -> None:
    try:
        channel.transact(Batch([request]))
    except RequestRefused as e:
        if e.code not in fine:
            raise refusal(e.code, device.name, "change a buffer") from e


def _unusable(script: VifScript, ifb: str, what: str) -> ScriptIfbUnusable:
    return ScriptIfbUnusable(script=script.path, vif=script.vif, ifb=ifb, what=what)
