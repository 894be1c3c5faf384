"""The copy's vifs: substituted scripts, shut until opened, announced afterwards."""

from pathlib import Path
from typing import Any

from remus_ha.hotplug import records
from remus_ha.hotplug.records import VifRecord
from remus_ha.hypervisor.xen.driver import bridge_exists
from remus_ha.loop import Loop
from remus_ha.netbuf.announce import Announcement, Announcer
from remus_ha.receive.request import Request


class CopyVifs:
    """All vifs of one copy. Their records make the hotplug script bring them up shut."""

    def __init__(self, request: Request, directory: Path) -> None:
        self._request, self._directory = request, directory
        self._announcer: Announcer | None = None

    @property
    def announcing(self) -> bool:
        return self._announcer is not None and not self._announcer.done

    def substituted(self, config: dict[str, Any]) -> dict[str, Any]:
        """The guest's configuration with our script; the records say what it replaced."""
        for vif in self._request.vifs:
            records.write(
                VifRecord(
                    mac=vif.mac,
                    state="shut",
                    bridge=vif.bridge,
                    original=vif.script,
                    guest=self._request.guest_uuid,
                    session=self._request.session,
                )
            )
        return records.substitute(config)

    def obstacle(self) -> str:
        """Why the vifs could not be opened; empty when they could."""
        missing = [v.bridge for v in self._request.vifs if v.bridge and not bridge_exists(v.bridge)]
        return f"no bridge {missing[0]}" if missing else ""

    def open(self, domid: int) -> None:
        """The swap is won and written down: bring every vif into its bridge."""
        for vif in self._request.vifs:
            records.open_vif(vif.mac, domid, vif.devid)

    def announce(self, loop: Loop, domid: int) -> None:
        """Tell the bridges where the guest's addresses are, several times."""
        announcements = [
            Announcement(records.device_name(domid, vif.devid), vif.bridge, vif.mac)
            for vif in self._request.vifs
            if vif.bridge
        ]
        self._announcer = Announcer(loop, announcements)

    def forget(self) -> None:
        """Only for a copy that is gone: its vifs must come up as ever on this host."""
        for vif in self._request.vifs:
            records.forget(vif.mac)
