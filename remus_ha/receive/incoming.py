"""What the backup knows of a session (``session.json`` of the role ``backup``)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.checkpoint.session import SessionUnreadable
from remus_ha.disk.spec import DiskSpec
from remus_ha.exceptions import RemusError
from remus_ha.receive.request import Request, VifSpec
from remus_ha.stream.modes import Tls


class IncomingMissing(RemusError):
    code = "RECV-004"
    cause = "there is no incoming session of guest {uuid} on this host"
    remedy = "The primary starts one: 'remus-ha protect'."


# What a session of an older release has not written down.
_LATER = {"tls": Tls.DISABLED.value, "minded": True, "libvirt": {}, "rate_mbit_s": 0}


@dataclass(frozen=True, slots=True)
class Incoming:
    """One session of one guest, as seen from the backup."""

    request: Request
    host: str
    nonce: str
    address: str
    control_port: int  # wanted; 0: any

    def directory(self) -> Path:
        return rundir.directory("backup", self.request.guest_uuid)

    def save(self) -> None:
        rundir.write_json(self.directory() / "session.json", asdict(self))

    @classmethod
    def load(cls, uuid: str) -> "Incoming":
        """Raises IncomingMissing, SessionUnreadable."""
        path = rundir.directory("backup", uuid) / "session.json"
        if not path.exists():
            raise IncomingMissing(uuid=uuid)
        fields: Any = rundir.read_json(path)
        try:
            request = {**_LATER, **fields["request"]}
            request["vifs"] = tuple(VifSpec(**vif) for vif in request["vifs"])
            request["disks"] = tuple(DiskSpec(**disk) for disk in request["disks"])
            fields["request"] = Request(**request)
            return cls(**fields)
        except (TypeError, KeyError) as e:
            raise SessionUnreadable(path=path, detail=e) from e
