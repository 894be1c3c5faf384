"""How a device of ours says whose it is: its name and its alias.

The name is made from the vif's numbers and fits IFNAMSIZ; the alias (at most 255 octets, kept by
the kernel with the device) names vif, guest and session, so that a later process can tell whose
left-over it is without any file. Where the operator's script has made the device, its name is the
script's, and the alias names the script too, which is to take it down.
"""

import re
from dataclasses import dataclass

from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.script import VifScript

_ALIAS = re.compile(
    r"remus-ha vif=(\S+) guest=(\S*) session=(\S*)(?: device=(\d+)\.(\d+) script=(.+))?", re.DOTALL
)
_ALIAS_OCTETS = 255


@dataclass(frozen=True, slots=True)
class Lease:
    """For which vif a device exists, and who made it or took it over last."""

    vif: str
    guest: str
    session: str
    script: VifScript | None = None  # that has made it

    def alias(self) -> str:
        """The form that is kept with the device."""
        alias = f"remus-ha vif={self.vif} guest={self.guest} session={self.session}"
        by = self.script
        return f"{alias} device={by.domid}.{by.devid} script={by.path}" if by else alias

    @classmethod
    def parse(cls, alias: str | None) -> "Lease | None":
        """The lease an alias states, None for every other alias."""
        found = _ALIAS.fullmatch(alias or "")
        if found is None:
            return None
        vif, guest, session, domid, devid, path = found.groups()
        script = VifScript(path, vif, int(domid), int(devid)) if path else None
        return cls(vif, guest, session, script)


# Octets of a script's path that always fit: with the longest vif, a UUID, and 32 digits of session.
LONGEST_SCRIPT = _ALIAS_OCTETS - len(
    Lease("v" * 15, "g" * 36, "s" * 32, VifScript("", "", 0x7FEF, 0xFFFF)).alias()
)


def ifb_name(vif: VifRef) -> str:
    """``rh<domid>.<devid>``; the tap of an emulated device gets an ``e`` of its own."""
    suffix = "e" if vif.name.endswith("-emu") else ""
    return f"rh{vif.domid}.{vif.devid}{suffix}"
