"""Why a disk cannot be replicated, or why a store refuses."""

from remus_ha.exceptions import RemusError


class DiskError(RemusError):
    """Base of everything that disk replication raises."""

    code = "DISK-000"


class TargetMissing(DiskError):
    code = "DISK-001"
    cause = "{path} cannot be made on {host}: its directory does not exist"
    remedy = "Make the directory on {host}, or map the path elsewhere with '--disk-map'."


class DeviceMissing(DiskError):
    code = "DISK-176"
    cause = "there is no device {path} on {host}"
    remedy = (
        "Make it, exactly as large as the guest's disk (lvcreate), or map the path elsewhere with "
        "'--disk-map'."
    )


class TargetSize(DiskError):
    code = "DISK-002"
    cause = "{path} on {host} has {theirs} octets, the guest's disk has {ours}"
    remedy = "Make it exactly as large as the guest's disk; nothing was overwritten."


class TargetInUse(DiskError):
    code = "DISK-003"
    cause = "{path} on {host} is in use ({by}); nothing was overwritten"
    remedy = "End what uses it, or map the disk to another path with '--disk-map'."


class TargetReadOnly(DiskError):
    code = "DISK-004"
    cause = "{path} on {host} cannot be written: {detail}"
    remedy = "Make it writable for root, or map the disk to another path with '--disk-map'."


class TargetSpace(DiskError):
    code = "DISK-005"
    cause = "{path} on {host} needs {wanted} octets, and there is no room for them ({detail})"
    remedy = "Free space there, or map the disk to another path with '--disk-map'."


class TargetForeign(DiskError):
    code = "DISK-006"
    cause = "{path} on {host} exists and is not a replica of this guest's disk"
    remedy = "Move it away, or say '--disk-overwrite' if what it holds may be lost."


class TargetKind(DiskError):
    code = "DISK-007"
    cause = "{path} on {host} is neither a regular file nor a block device"
    remedy = "Map the disk to a file or a block device with '--disk-map'."


class TargetFormat(DiskError):
    code = "DISK-041"
    cause = "{path} on {host} can be no qcow2 replica: {detail}"
    remedy = "Move it away, or map the disk to another file with '--disk-map'."


class TargetLayered(DiskError):
    code = "DISK-042"
    cause = "{path} on {host} depends on another file, {beneath}; a replica stands alone"
    remedy = "Move it away, or say '--disk-overwrite' to have a whole image made in its place."


class TargetUnserved(DiskError):
    code = "DISK-043"
    cause = "qemu-nbd cannot serve {path} on {host}: {detail}"
    remedy = "Install Debian's qemu-utils and python3-libnbd there; the store's log says more."


class SharedDisk(DiskError):
    code = "DISK-008"
    cause = "{path} is the same storage on both hosts: both copies of the guest would write to it"
    remedy = (
        "Give every host its own image and map the path with '--disk-map'; a disk on shared "
        "storage cannot be rolled back with the guest's memory."
    )


class DiskNotThere(DiskError):
    code = "DISK-017"
    cause = "{path}, disk {vdev} of the guest, is not replicated and does not exist on {host}"
    remedy = "Put it there, or map the path with '--disk-map'; a cdrom may be ejected instead."


class TargetNewer(DiskError):
    code = "DISK-019"
    cause = (
        "{path} on {host} is a newer image of this disk (generation {theirs}) than the guest's own "
        "({ours}); nothing was overwritten"
    )
    remedy = (
        "Find out which host had the guest last. Start it from the newer image, or say "
        "'--disk-overwrite' if what that one holds may be lost."
    )


class LineageUnwritable(DiskError):
    code = "DISK-047"
    cause = "it cannot be written down beside {path} whose disk that is: {detail}"
    remedy = "Make the image's directory writable for root, with a few KiB of free space."


class BackingMissing(DiskError):
    code = "DISK-044"
    cause = "{path}, disk {vdev} of the guest, cannot be opened on {host}: {detail}"
    remedy = "Put what it is based on there, at the paths that 'qemu-img info' names."


class DriverFormat(DiskError):
    code = "DISK-045"
    cause = "disk {vdev} of '{name}' has format {format}, which this disk driver does not take"
    remedy = "Leave '--disk-driver' away: then it gets one that does."


class StorePoisoned(DiskError):
    code = "DISK-009"
    cause = "the store of {disk} can no longer be trusted: {detail}"
    remedy = "Mend the cause (see 'dmesg' and free space on the backup), then protect it again."


class StoreSevered(DiskError):
    code = "DISK-010"
    cause = "the store of {disk} has lost the primary's connection: its open epoch is incomplete"
    remedy = "Protect the guest again; its disk is synchronised anew."


class StoreOutgrown(DiskError):
    """Only its end could make room, and that may come behind the writes that wait."""

    code = "DISK-171"
    cause = (
        "the open epoch of {disk} has outgrown the journal of {limit} octets, and has not ended "
        "within {seconds:g} s"
    )
    remedy = "Protect the guest again, with a shorter '--interval' or when it writes less."


class ImageStill(DiskError):
    """Only the image's disk could make room, by taking the epochs that are committed."""

    code = "DISK-173"
    cause = (
        "the journal of {disk}, {limit} octets, is full, and the image on the backup has taken "
        "nothing for {seconds:g} s"
    )
    remedy = "Look on the backup for a disk that hangs ('dmesg'), then protect the guest again."


class EpochUnkept(DiskError):
    code = "DISK-174"
    cause = "epoch {n} of {disk} cannot be written down on the backup: {detail}"
    remedy = "Look there at 'dmesg' and at the room beside the image, then protect the guest again."


class OrderFailed(DiskError):
    code = "DISK-175"
    cause = "'{verb}' at {path} failed: {detail}"
    remedy = "Look on that host at 'dmesg' and at the room beside the image."


class StoreStill(DiskError):
    code = "DISK-172"
    cause = "the store of {disk} on the backup has stood still for {seconds:.1f} s: {why}"
    remedy = (
        "Look there for a process that is stopped ('ps') and a disk that hangs ('dmesg'), then "
        "protect the guest again."
    )


class StoreOrder(DiskError):
    code = "DISK-011"
    cause = "the store of {disk} cannot {action} epoch {n}: {detail}"
    remedy = "This is a defect: report it with the logs of both hosts."


class NotAttending(DiskError):
    """Two that give one disk's orders would spoil each other's session."""

    code = "DISK-048"
    cause = "'{verb}' at {path} is the order of its owner, which this connection is not"
    remedy = "End the guest's protection first: 'remus-ha unprotect NAME' on its primary."


class StoreCrowded(DiskError):
    code = "VERIFY-007"
    cause = "writes wait for room in the journal of {disk}: what is there now says nothing"
    remedy = "Try again when less is written, or use a faster disk for the backup's image."


class StoreSilent(DiskError):
    code = "DISK-012"
    cause = "the store of {disk} does not answer ({detail})"
    remedy = "Look at the store's log in {log}."


class FinishOutstanding(DiskError):
    """Said again and again, and never given up: the primary may be dead, and this the only copy."""

    code = "DISK-049"
    cause = (
        "the failover waits for {disk}: for {seconds:.0f} s {who} has been bringing the committed "
        "epochs into the image; its log is {log}"
    )
    remedy = (
        "Look at that log and at 'dmesg', and see to it that the process and the image's device go "
        "on; the copy starts then. A daemon that is killed instead ends the copy; its image can be "
        "taken up with 'remus-ha disk recover'."
    )


class JournalUnusable(DiskError):
    code = "DISK-177"
    cause = "the journal of {disk} in {path} cannot be used: {detail}"
    remedy = "Make it a directory that root can write to, with room; the image was not touched."


class StoreState(DiskError):
    code = "DISK-013"
    cause = "the state of the store in {path} cannot be read: {detail}"
    remedy = "The image is not to be trusted; protect the guest again with a full synchronisation."


class TargetTwice(DiskError):
    code = "DISK-181"
    cause = "{path} on {host} would be the image of two disks of the guest, {first} and {second}"
    remedy = "Give each an image of its own there with '--disk-map'."


class StillStarting(DiskError):
    code = "DISK-182"
    cause = "the process for {disk} was ended: it had not started after {seconds:g} s; see {log}"
    remedy = (
        "Look there for a disk that hangs ('dmesg'). Where a file system takes longer to set a new "
        "image's space apart, remove what was begun, make the image there by hand ('dd "
        "if=/dev/zero'; qcow2: 'qemu-img create -o preallocation=full'), exactly as large as the "
        "guest's disk, and say '--disk-overwrite'."
    )


class RoomShort(DiskError):
    code = "DISK-183"
    cause = (
        "images and journals of {disks} need {wanted} octets where {path} is on {host}, and {free} "
        "are free"
    )
    remedy = (
        "Free space there, or map a disk elsewhere with '--disk-map'. A block device's journal "
        "lies in /var/lib/remus-ha."
    )
