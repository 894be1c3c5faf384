"""How a device of ours says whose it is: its name and its alias.

The name is made from the vif's numbers and fits IFNAMSIZ; the alias (at most 255 octets, kept by
the kernel with the device) names vif, guest and session, so that a later process can tell whose
left-over it is without any file.
"""

import re
from dataclasses import dataclass

from remus_ha.netbuf.base import VifRef

_ALIAS = re.compile(r"remus-ha vif=(\S+) guest=(\S*) session=(\S*)")


@dataclass(frozen=True, slots=True)
class Lease:
    """For which vif a device exists, and who made it or took it over last."""

    vif: str
    guest: str
    session: str

    def alias(self) -> str:
        """The form that is kept with the device."""
        return f"remus-ha vif={self.vif} guest={self.guest} session={self.session}"

    @classmethod
    def parse(cls, alias: str | None) -> "Lease | None":
        """The lease an alias states, None for every other alias."""
        found = _ALIAS.fullmatch(alias or "")
        return cls(*found.groups()) if found else None


def ifb_name(vif: VifRef) -> str:
    """``rh<domid>.<devid>``; the tap of an emulated device gets an ``e`` of its own."""
    suffix = "e" if vif.name.endswith("-emu") else ""
    return f"rh{vif.domid}.{vif.devid}{suffix}"
