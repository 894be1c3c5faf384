"""Finding and removing what earlier processes of ours left in this host's network devices.

Nothing here decides: a left-over may be holding the output of a guest that the register still
calls a pair, and only the caller knows. What is not ours is not listed.
"""

import re
from dataclasses import dataclass

from remus_ha.netbuf import ports as own
from remus_ha.netbuf import scripted
from remus_ha.netbuf.devices import PRIORITY, Devices, Link
from remus_ha.netbuf.lease import Lease
from remus_ha.netbuf.messages import Action, change_plug
from remus_ha.netbuf.ports import Port
from remus_ha.netbuf.refusal import refusal
from remus_ha.netbuf.rtnl import Batch, Channel, RequestRefused
from remus_ha.netbuf.script import VifScript

_OURS = re.compile(r"rh(\d+)\.\d+e?")


@dataclass(frozen=True, slots=True)
class Leftover:
    """An ifb of ours, or a redirect of ours whose ifb is gone (then ``ifb`` is None).

    ``vif`` is None where the vif is gone; ``connected`` says that its ingress goes to the ifb.
    ``guest`` and ``session`` are empty where the maker died before it wrote them down. ``script``
    is the operator's that has made it.
    """

    ifb: str | None
    vif: str | None
    domid: int | None
    guest: str
    session: str
    plugged: bool
    connected: bool
    script: VifScript | None = None

    def by_hand(self) -> list[str]:
        """The commands that remove it; what it holds is dropped."""
        if self.script is not None:
            return [self.script.by_hand("teardown", self.ifb or "")]
        commands = [f"ip link del {self.ifb}"] if self.ifb else []
        if self.vif and self.connected:
            commands.append(f"tc qdisc del dev {self.vif} ingress")
        return commands


def find_leftovers() -> tuple[Leftover, ...]:
    """All of ours on this host, those of living sessions too."""
    with Devices() as devices:
        links = devices.links()
        by_name = {link.name: link for link in links}
        ifbs = [link for link in links if link.kind == "ifb"]
        ours = [ifb for ifb in ifbs if _OURS.fullmatch(ifb.name) and not _script(ifb)]
        known = {ifb.index for ifb in ours}
        found = [_describe(devices, ifb, by_name) for ifb in ours]
        found += [left for ifb in ifbs if (left := _of_script(devices, ifb, by_name))]
        found += [_orphan(link) for link in links if _is_orphan(devices, link, known)]
        return tuple(found)


def remove(leftover: Leftover, *, release: bool) -> None:
    """Remove one left-over; the vif, where there is one, is unbuffered afterwards.

    With ``release`` what the plug holds goes out first: only after a won bump. Without it is
    dropped; then the domain should be gone already. Parts that are gone are no error.
    """
    channel = Channel()
    try:
        with Devices() as devices:
            source = devices.find(leftover.vif) if leftover.vif else None
            if source is not None and not leftover.connected:
                source = None
            ifb = devices.find(leftover.ifb) if leftover.ifb else None
            if ifb is None:
                if source is not None:
                    devices.delete_ingress(source)
                return
            if release and leftover.plugged:
                _open(channel, ifb)
            port = Port(source=source, ifb=ifb, script=leftover.script)
            (scripted if leftover.script else own).dismantle(
                devices, channel, [port], release=release
            )
    finally:
        channel.close()


def _open(channel: Channel, ifb: Link) -> None:
    try:
        channel.transact(Batch([change_plug(ifb.index, Action.RELEASE_INDEFINITE)]))
    except RequestRefused as e:
        raise refusal(e.code, ifb.name, "tell a plug") from e


def _script(ifb: Link) -> VifScript | None:
    lease = Lease.parse(ifb.alias)
    return lease.script if lease else None


def _of_script(devices: Devices, ifb: Link, by_name: dict[str, Link]) -> Leftover | None:
    """What a script has made and not taken down, by the ifb's alias.

    The script may keep its ifb and give it to another vif: then the alias is of the past.
    """
    lease = Lease.parse(ifb.alias)
    if lease is None or lease.script is None:
        return None
    users = [link.name for link in devices.leading_to(ifb)]
    plugged = devices.root_kind(ifb) == "plug"
    if lease.vif not in users and (users or not plugged):
        return None
    return Leftover(
        ifb=ifb.name,
        vif=lease.vif if lease.vif in by_name else None,
        domid=lease.script.domid,
        guest=lease.guest,
        session=lease.session,
        plugged=plugged,
        connected=lease.vif in users,
        script=lease.script,
    )


def _describe(devices: Devices, ifb: Link, by_name: dict[str, Link]) -> Leftover:
    lease = Lease.parse(ifb.alias)
    vif = by_name.get(lease.vif) if lease else None
    name = _OURS.fullmatch(ifb.name)
    return Leftover(
        ifb=ifb.name,
        vif=vif.name if vif else None,
        domid=int(name[1]) if name else None,
        guest=lease.guest if lease else "",
        session=lease.session if lease else "",
        plugged=devices.root_kind(ifb) == "plug",
        connected=vif is not None and _leads_to(devices, vif, ifb),
    )


def _leads_to(devices: Devices, vif: Link, ifb: Link) -> bool:
    if devices.ingress_kind(vif) != "ingress":
        return False
    found = devices.redirects(vif)
    # An ingress without any filter was ours to fill: its ifb says that it is for this vif.
    return len(found) <= 1 and all(r.everything and r.target == ifb.index for r in found)


def _is_orphan(devices: Devices, link: Link, known: set[int]) -> bool:
    """A redirect with our mark whose ifb no longer exists: it drops every frame."""
    if devices.ingress_kind(link) != "ingress":
        return False
    found = devices.redirects(link)
    return (
        len(found) == 1
        and found[0].priority == PRIORITY
        and found[0].kind == "matchall"
        and found[0].target not in known
    )


def _orphan(link: Link) -> Leftover:
    return Leftover(
        ifb=None,
        vif=link.name,
        domid=None,
        guest="",
        session="",
        plugged=False,
        connected=True,
    )
