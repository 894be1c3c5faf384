"""What the operator asked for, and which of it needs force. Quick to load: it is needed first."""

from dataclasses import dataclass

from remus_ha.exceptions import RemusError
from remus_ha.stream.modes import Tls
from remus_ha.witness.errors import WitnessMissing

DRIVERS = ("tapdisk", "qemu")  # of disks that no daemon serves; the first that takes them all


class NeedsForce(RemusError):
    code = "PROTECT-006"
    cause = "{what} gives up part of the protection"
    remedy = "Add -F if that is what you want."


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator asked for."""

    domain: str
    host: str
    interval_ms: int = 200
    detect_ms: int = 1000
    ssh: str = "ssh"
    force: bool = False
    buffer_net: bool = True
    replicate_disks: bool = True
    blackhole: bool = False
    tls: str = Tls.REQUIRED.value  # of the memory stream
    port: int = 0  # of the backup's control connection, the next one is the stream's; 0: any
    minded: bool = True  # whether xl stays as the copy's monitor after a failover
    witness: str | None = None
    witness_entry: str = ""
    netbuf_entry: str = ""
    netbuf_script: str = ""  # makes the buffers in place of the driver; empty: none
    disk_entry: str = ""  # empty: what the disks need
    disk_map: tuple[tuple[str, str], ...] = ()  # path here, path on the backup
    disk_overwrite: bool = False
    disk_ack: str = "received"
    disk_rate: int = 0  # octets a second of the synchronisation
    rate_mbit_s: int = 0  # of the memory stream; 0: no bound

    @property
    def mirrors_disks(self) -> bool:
        """Where there is no backup, there is none of the disks either."""
        return self.replicate_disks and not self.blackhole

    def refusals(self) -> list[RemusError]:
        """What it asks for, or leaves out, and only ``force`` allows."""
        if self.force:
            return []
        weak = {
            "-n (output leaves before the backup has it)": not self.buffer_net,
            "-d (disks are not replicated)": not self.replicate_disks,
            "-b (there is no backup)": self.blackhole,
            "--tls disabled (the guest's memory crosses the network in the clear)": (
                self.tls == Tls.DISABLED.value
            ),
        }
        found: list[RemusError] = [NeedsForce(what=what) for what, given in weak.items() if given]
        return found if self.witness else [*found, WitnessMissing()]
