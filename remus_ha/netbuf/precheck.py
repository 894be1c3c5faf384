"""Looking, without touching any device, whether the output of some vifs can be buffered.

Where nothing is in the way that is a plain rtnetlink dump and a probe: the library that builds the
buffers takes long to load.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from remus_ha.exceptions import RemusError
from remus_ha.netbuf.errors import (
    ForeignIngress,
    LeftoverInTheWay,
    RedirectMissing,
    ScriptUnusable,
    VifVanished,
)
from remus_ha.netbuf.kernel import load_modules
from remus_ha.netbuf.lease import LONGEST_SCRIPT
from remus_ha.netbuf.messages import RTM_GETQDISC, TC_H_INGRESS, TCMSG, parse_kind
from remus_ha.netbuf.probe import kernel_obstacle
from remus_ha.netbuf.rtnl import dump


def vif_obstacles(vifs: Sequence[str], script: str = "") -> list[RemusError]:
    """Why these vifs cannot be buffered; empty when they can.

    With ``script``, by the operator's: then what that sets up shows only when it has been called.
    """
    if not vifs:
        return []
    found: list[RemusError] = list(_script_obstacles(script)) if script else []
    load_modules(own_ifbs=not script)
    kernel = kernel_obstacle()
    if kernel is not None and not (script and isinstance(kernel, RedirectMissing)):
        found.append(kernel)
    kinds = dict(_ingress_kinds())
    for vif in vifs:
        try:
            kind = kinds.get(socket.if_nametoindex(vif))
        except OSError:
            found.append(VifVanished(device=vif))
            continue
        if kind is not None:
            found.append(_leftover(vif) or ForeignIngress(vif=vif, kind=kind))
    return found


def _script_obstacles(script: str) -> Iterator[RemusError]:
    why = ""
    if not Path(script).exists():
        why = "does not exist"
    elif not Path(script).is_file():
        why = "is no file"
    elif not os.access(script, os.X_OK):
        why = "is not executable"
    elif len(os.fsencode(script)) > LONGEST_SCRIPT:
        why = "has too long a path to be kept with a device"
    if why:
        yield ScriptUnusable(script=script, why=why, longest=LONGEST_SCRIPT)


def _leftover(vif: str) -> RemusError | None:
    """The error for a vif that a session of ours, alive or not, has connected."""
    from remus_ha.netbuf.sweep import find_leftovers  # noqa: PLC0415  only where it matters

    for left in find_leftovers():
        if left.vif == vif and left.connected:
            ifb = left.ifb or "nothing"
            return LeftoverInTheWay(vif=vif, ifb=ifb, session=left.session, guest=left.guest)
    return None


def _ingress_kinds() -> Iterator[tuple[int, str]]:
    """Index and kind for every device of this host that has something at its ingress."""
    for payload in dump(RTM_GETQDISC, TCMSG.pack(0, 0, 0, 0, 0)):
        _family, index, _handle, parent, _info = TCMSG.unpack_from(payload)
        if parent == TC_H_INGRESS:
            yield index, parse_kind(payload)
