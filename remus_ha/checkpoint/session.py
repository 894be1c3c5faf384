"""What the command line arranges and the primary's process works from (``session.json``)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.exceptions import RemusError


class SessionMissing(RemusError):
    code = "PROTECT-003"
    cause = "there is no session of guest {uuid} on this host"
    remedy = "Start one with 'remus-ha protect'."


class SessionUnreadable(RemusError):
    """Of another release: whoever wrote it may have left something to be taken up."""

    code = "PROTECT-036"
    cause = "the session in {path} cannot be read: {detail}"
    remedy = (
        "Install the release again that had protected the guest and run 'remus-ha cleanup'; until"
        " then its output stays held."
    )


_ENDS = {"on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy"}


def ends_of(config: dict[str, Any]) -> dict[str, str]:
    """What a guest's configuration wants done at each of its ends; xl's defaults where silent."""
    return {end: str(config.get(end, default)) for end, default in _ENDS.items()}


def restarts(action: str) -> bool:
    """Whether such an action starts the guest again, whatever else it does."""
    return action.endswith("restart")


@dataclass(frozen=True, slots=True)
class SessionVif:
    """One vif of the protected guest."""

    devid: int
    name: str
    mac: str
    bridge: str
    script: str


@dataclass(frozen=True, slots=True)
class SessionDisk:
    """One replicated disk, as ``remus_ha.disk.base.Mirrored`` has it."""

    vdev: str
    path: str
    node: str
    size: int
    port: int
    uri: str = ""
    base: int = 0
    format: str = "raw"


@dataclass(frozen=True, slots=True)
class Session:
    """One session of one guest, as seen from the primary."""

    session: str  # 32 hexadecimal digits
    uuid: str
    name: str
    domid: int
    host: str
    nonce: str
    peer_host: str
    peer_nonce: str
    peer_address: str
    control_port: int
    data_port: int
    peer_certificate: str  # base64 of DER
    witness: str  # URL
    witness_entry: str  # import path of its driver
    blackhole: bool
    netbuf_entry: str  # import path of the buffer driver; empty: output is not buffered
    interval_ms: int
    detect_ms: int
    on_poweroff: str
    on_reboot: str
    on_crash: str
    vifs: tuple[SessionVif, ...]
    disks: tuple[SessionDisk, ...]
    disk_entry: str  # import path of the disks' driver
    disk_rate: int  # octets a second of their synchronisation; 0: no bound
    config: dict[str, Any]
    product_version: str
    all_disks: dict[str, int]  # octets of each that the guest has, replicated or not
    # From here on what older releases have not written.
    tls: bool = False  # of the memory stream
    libvirt: bool = False  # whether the guest is libvirt's (remus_ha.hypervisor.libvirt)
    netbuf_script: str = ""  # the operator's, that makes the buffers
    netbuf_partial: bool = False  # also if it does not redirect every frame
    rate_mbit_s: int = 0  # of the memory stream; 0: no bound

    def save(self) -> Path:
        path = rundir.directory("primary", self.uuid) / "session.json"
        rundir.write_json(path, asdict(self))
        return path

    @classmethod
    def load(cls, uuid: str) -> "Session":
        """Raises SessionMissing, SessionUnreadable."""
        path = rundir.directory("primary", uuid) / "session.json"
        if not path.exists():
            raise SessionMissing(uuid=uuid)
        fields: Any = rundir.read_json(path)
        try:
            fields["vifs"] = tuple(SessionVif(**vif) for vif in fields["vifs"])
            fields["disks"] = tuple(SessionDisk(**disk) for disk in fields["disks"])
            return cls(**fields)
        except (TypeError, KeyError) as e:
            raise SessionUnreadable(path=path, detail=e) from e
