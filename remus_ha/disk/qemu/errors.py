"""What goes wrong between us and a guest's QEMU."""

from remus_ha.disk.errors import DiskError


class QemuUnreachable(DiskError):
    code = "DISK-020"
    cause = "the QEMU of domain {domid} cannot be talked to at {path}: {detail}"
    remedy = "Look whether another program holds that socket ('ss -xp'); end it and try again."


class QemuRefused(DiskError):
    code = "DISK-021"
    cause = "QEMU refuses {command}: {detail}"
    remedy = "Look at /var/log/xen/qemu-dm-*.log; the guest goes on on its own disk."


class MirrorLost(DiskError):
    code = "DISK-022"
    cause = "the disk {vdev} is replicated no more: {detail}"
    remedy = "Look at the backup's store and the network between; then protect the guest again."


class QemuBusy(DiskError):
    code = "DISK-023"
    cause = "the disks of domain {domid} do not come to rest for the mirror to begin"
    remedy = "Try again; if it stays so, report this with 'xl block-list {domid}'."


class RelayDidNotStart(DiskError):
    code = "DISK-025"
    cause = "the connection of {vdev} to its store could not be relayed: {detail}"
    remedy = "Install nbdkit on this host: 'nbdkit nbd --version' must work."


class DiskWorkFailed(DiskError):
    code = "DISK-026"
    cause = "the work on the disks of domain {domid} failed: {detail}"
    remedy = (
        "The guest goes on unprotected. Look at this host's free space and memory; else report it."
    )


class QmpLibraryMissing(DiskError):
    code = "DISK-024"
    cause = "the Python library qemu.qmp is not installed"
    remedy = "Install it on the hosts: 'pip install qemu.qmp'."
