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

from remus_ha.netbuf.errors import (
    ForeignIngress,
    IfbMissing,
    NetbufError,
    RedirectMissing,
    VifVanished,
)
from remus_ha.netbuf.refusal import refusal

INGRESS = 0xFFFF0000
PRIORITY = 0x5248
_INGRESS_PARENT = 0xFFFFFFF1
_ROOT_PARENT = 0xFFFFFFFF
_EGRESS_REDIRECT = 1


SLOW_IMPORT = "pyroute2"  # seconds in a dom0


@dataclass(frozen=True, slots=True)
class Link:
    """A network device. ``in_flight`` counts frames an ifb took and has not put back yet."""

    name: str
    index: int
    kind: str | None
    alias: str | None
    in_flight: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """A filter at a device's ingress; ``target`` is an ifindex where it redirects all to it."""

    kind: str
    priority: int
    target: int | None


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
        """The filters at the device's ingress."""
        with _refusals(link.name, "list filters"):
            filters = list(self._ipr.get_filters(index=link.index, parent=INGRESS))
        # The kernel lists a classifier without handle ahead of its filter.
        return tuple(_redirect(f) for f in filters if f["handle"])

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


def _redirect(message: Any) -> Redirect:
    return Redirect(
        kind=message.get_attr("TCA_KIND"),
        priority=message["info"] >> 16,
        target=_target(message),
    )


def _target(message: Any) -> int | None:
    """Where a filter that matches every frame redirects it, None for any other filter."""
    options = message.get_attr("TCA_OPTIONS")
    if message.get_attr("TCA_KIND") != "matchall" or options is None:
        return None
    chain = options.get_attr("TCA_MATCHALL_ACT")
    actions = [action for _, action in chain["attrs"]] if chain else []
    if len(actions) != 1 or actions[0].get_attr("TCA_ACT_KIND") != "mirred":
        return None
    parameters = actions[0].get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    if parameters["eaction"] != _EGRESS_REDIRECT:
        return None
    return int(parameters["ifindex"])
