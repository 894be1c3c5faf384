"""Making, finding and removing the devices of a buffer, by way of pyroute2.

For set-up, tear-down and surveys only; the epoch loop sends prebuilt requests instead. Works with
pyroute2 0.7.2 (Debian 12) and 0.9, which is imported when the first ``Devices`` is opened: it
costs a quarter of a second natively.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from remus_ha.netbuf import filters
from remus_ha.netbuf.errors import (
    ForeignIngress,
    IfbMissing,
    NetbufError,
    RedirectMissing,
    VifVanished,
)
from remus_ha.netbuf.filters import INGRESS, Redirect
from remus_ha.netbuf.refusal import refusal

PRIORITY = 0x5248
_INGRESS_PARENT = 0xFFFFFFF1
_ROOT_PARENT = 0xFFFFFFFF

SLOW_IMPORT = "pyroute2"  # seconds in a dom0


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. ``in_flight`` counts frames an ifb took and has not put back yet."""

    name: str
    index: int
    kind: str | None
    alias: str | None
    in_flight: int


class Devices:
    """One connection to the kernel, open inside a ``with`` block."""

    def __enter__(self) -> Self:
        from pyroute2 import IPRoute  # noqa: PLC0415  (SLOW_IMPORT)

        self._ipr = IPRoute()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ipr.close()

    def links(self) -> tuple[Link, ...]:
        """Every network device of this host."""
        return tuple(_link(message) for message in self._ipr.get_links())

    def find(self, name: str) -> Link | None:
        """The device called ``name``, None when there is none."""
        with _refusals(name, "look up a device"):
            try:
                return next((_link(m) for m in self._ipr.link("get", ifname=name)), None)
            except _netlink_error() as e:
                if e.code == errno.ENODEV:
                    return None
                raise

    def make_ifb(self, name: str) -> Link:
        """A new ifb, down, without alias."""
        with _refusals(name, "make an ifb", missing=IfbMissing()):
            self._ipr.link("add", ifname=name, kind="ifb")
        made = self.find(name)
        if made is None:
            raise VifVanished(device=name)
        return made

    def set_alias(self, link: Link, alias: str) -> None:
        """Keep ``alias`` (at most 255 octets) with the device."""
        with _refusals(link.name, "set an alias"):
            self._ipr.link("set", index=link.index, ifalias=alias)

    def bring_up(self, link: Link) -> None:
        """Administratively up."""
        with _refusals(link.name, "bring a device up"):
            self._ipr.link("set", index=link.index, state="up")

    def bring_down(self, link: Link) -> None:
        """Administratively down: what it holds and what comes is dropped. Fine when it is gone."""
        with self._gone_is_fine(link.name, "bring a device down"):
            self._ipr.link("set", index=link.index, state="down")

    def delete_link(self, link: Link) -> None:
        """Delete a device and drop what it holds; nothing happens when it is gone already."""
        with self._gone_is_fine(link.name, "delete a device"):
            self._ipr.link("del", index=link.index)

    def root_kind(self, link: Link) -> str | None:
        """Kind of the root queueing discipline."""
        return self._qdisc(link, _ROOT_PARENT)

    def ingress_kind(self, link: Link) -> str | None:
        """``ingress`` or ``clsact`` where the device has one."""
        return self._qdisc(link, _INGRESS_PARENT)

    def redirects(self, link: Link) -> tuple[Redirect, ...]:
        """The filters at the device's ingress, in the order in which its frames meet them."""
        try:
            return filters.redirects(link.index)
        except OSError as e:
            raise refusal(e.errno or 0, link.name, "list filters") from e

    def leading_to(self, link: Link) -> tuple[Link, ...]:
        """The devices with an ingress filter that redirects to ``link``."""
        with _refusals(link.name, "list qdiscs"):
            found = list(self._ipr.get_qdiscs())
        filtered = {q["index"] for q in found if q["parent"] == _INGRESS_PARENT}
        return tuple(
            other
            for other in self.links()
            if other.index in filtered
            and any(r.target == link.index for r in self.redirects(other))
        )

    def add_ingress(self, link: Link) -> None:
        """An ingress queueing discipline; refused where there is one."""
        taken = ForeignIngress(vif=link.name, kind="ingress")
        missing = RedirectMissing(vif=link.name, detail="no sch_ingress")
        with _refusals(link.name, "add an ingress qdisc", missing=missing, taken=taken):
            self._ipr.tc("add", "ingress", index=link.index, handle=INGRESS)

    def add_redirect(self, link: Link, target: Link) -> None:
        """From here on every frame that comes in by ``link`` goes to ``target`` instead."""
        action = {
            "kind": "mirred",
            "direction": "egress",
            "action": "redirect",
            "ifindex": target.index,
        }
        missing = RedirectMissing(vif=link.name, detail="no cls_matchall or act_mirred")
        with _refusals(link.name, "add a filter", missing=missing):
            self._ipr.tc(
                "add-filter",
                "matchall",
                index=link.index,
                parent=INGRESS,
                prio=PRIORITY,
                action=[action],
            )

    def delete_ingress(self, link: Link) -> None:
        """Remove the ingress queueing discipline with its filters, if it is there."""
        with self._gone_is_fine(link.name, "delete an ingress qdisc"):
            self._ipr.tc("del", "ingress", index=link.index, handle=INGRESS)

    def _qdisc(self, link: Link, parent: int) -> str | None:
        with _refusals(link.name, "list qdiscs"):
            found = list(self._ipr.get_qdiscs(index=link.index))
        return next((q.get_attr("TCA_KIND") for q in found if q["parent"] == parent), None)

    @contextlib.contextmanager
    def _gone_is_fine(self, device: str, action: str) -> Iterator[None]:
        with _refusals(device, action):
            try:
                yield
            except _netlink_error() as e:
                if e.code not in (errno.ENODEV, errno.ENOENT, errno.EINVAL):
                    raise


@contextlib.contextmanager
def _refusals(
    device: str,
    action: str,
    *,
    missing: NetbufError | None = None,
    taken: NetbufError | None = None,
) -> Iterator[None]:
    """Turn pyroute2's error into one that names device and action."""
    try:
        yield
    except _netlink_error() as e:
        raise refusal(e.code, device, action, missing=missing, taken=taken) from e


def _netlink_error() -> Any:
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    return NetlinkError


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    stats = message.get_attr("IFLA_STATS64") or {}
    taken = stats.get("rx_packets", 0) - stats.get("rx_dropped", 0)
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=info.get_attr("IFLA_INFO_KIND") if info else None,
        alias=message.get_attr("IFLA_IFALIAS"),
        in_flight=taken - stats.get("tx_packets", 0),
    )
