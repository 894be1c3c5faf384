"""A protected guest's vifs on one host: recorded as shut, opened on purpose, announced."""

from dataclasses import replace
from typing import Any

from remus_ha.exceptions import RemusError
from remus_ha.hotplug import records
from remus_ha.hotplug.errors import BadRecord
from remus_ha.hypervisor.xen.driver import bridge_exists
from remus_ha.loop import Loop
from remus_ha.netbuf.announce import Announcement, Announcer


def _known(mac: str) -> records.VifRecord | None:
    """What this host knows of a vif; an unreadable record means shut, as to the hotplug script."""
    try:
        return records.read(mac)
    except BadRecord:
        return records.VifRecord(mac, records.VifState.SHUT)


class GuestVifs:
    """All vifs of one guest, as its libxl configuration lists them."""

    def __init__(self, config: dict[str, Any], guest: str, session: str) -> None:
        self._config, self._session = config, session
        self._records = records.records_of(config, guest, session)
        self._devids = [int(nic.get("devid", i)) for i, nic in enumerate(config.get("nics", []))]
        self._announcer: Announcer | None = None

    @property
    def announcing(self) -> bool:
        return self._announcer is not None and not self._announcer.done

    def shut(self) -> None:
        """From now on whatever comes up with these MACs comes up shut, also after a crash."""
        for record in self._records:
            records.write(replace(record, before=self._before(record)))

    def _before(self, record: records.VifRecord) -> str:
        """What a former session left: still true when this one has ended without the guest."""
        known = _known(record.mac)
        if known is None:
            return ""
        return known.before if known.session == self._session else known.state

    def substituted(self) -> dict[str, Any]:
        """The guest's configuration with our hotplug script."""
        return records.substitute(self._config)

    def obstacle(self) -> str:
        """Why the vifs could not be opened; empty when they could."""
        missing = [r.bridge for r in self._records if r.bridge and not bridge_exists(r.bridge)]
        return f"no bridge {missing[0]}" if missing else ""

    def open(self, domid: int) -> list[str]:
        """Let every vif's frames go. One that fails keeps none of the others shut.

        The complaints are returned. Only after a won swap that was written down.
        """
        complaints = []
        for record, devid in zip(self._records, self._devids, strict=True):
            try:
                records.open_vif(record.mac, domid, devid)
            except RemusError as e:
                complaints.append(str(e))
        return complaints

    def announce(self, loop: Loop, domid: int) -> None:
        """Tell the bridges where the guest's addresses are, several times, out of ``loop``."""
        announcements = [
            Announcement(records.device_name(domid, devid), record.bridge, record.mac)
            for record, devid in zip(self._records, self._devids, strict=True)
            if record.bridge
        ]
        self._announcer = Announcer(loop, announcements)

    def leave(self, *, our_script: bool) -> None:
        """The protection is over and the guest lives here.

        Where its configuration names our script by now, that must still know the guest's own.
        """
        for record in self._own():
            if our_script:
                records.keep(replace(record, state=records.VifState.OPEN, before=""))
            else:
                records.forget(record.mac)

    def drop(self) -> None:
        """The protection is over and the guest does not live here: as before this session."""
        for record in self._own():
            if record.before == records.VifState.SHUT:
                records.write(replace(record, state=records.VifState.SHUT, session="", before=""))
            else:
                records.forget(record.mac)

    def _own(self) -> list[records.VifRecord]:
        """The records that this session has written; another's are not touched."""
        found = (_known(record.mac) for record in self._records)
        return [record for record in found if record and record.session == self._session]
