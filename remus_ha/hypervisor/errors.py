"""What can be wrong with a guest or a hypervisor, each with a stable code."""

from remus_ha.exceptions import RemusError


class HypervisorError(RemusError):
    """Base of this package's errors."""


class ToolMissing(HypervisorError):
    code = "XEN-001"
    cause = "{tool} was not found on this host"
    remedy = "Run this in dom0 of a Xen host and install Debian's xen-utils of the running version."


class UnknownVersion(HypervisorError):
    code = "XEN-002"
    cause = "Xen {version} is not one of the versions whose save helper is known ({known})"
    remedy = "Run a supported Xen release on both hosts."


class NoSuchGuest(HypervisorError):
    code = "XEN-003"
    cause = "there is no domain '{name}' on this host"
    remedy = "Look at 'xl list'; the guest must be running here."


class GuestNotRunning(HypervisorError):
    code = "XEN-004"
    cause = "domain '{name}' is {state}"
    remedy = "Start or unpause the guest first ('xl unpause {name}'), then protect it."


class GuestIsPv(HypervisorError):
    code = "XEN-005"
    cause = "'{name}' is a PV guest; {why}"
    remedy = 'Boot the guest as PVH (type="pvh").'

    NO_SHADOW = "this hypervisor has no shadow paging, without which nobody can track its memory"
    NOT_YET = "only PVH guests are supported so far"


class GuestIsHvm(HypervisorError):
    code = "XEN-006"
    cause = "'{name}' is an HVM guest; only PVH guests are supported so far"
    remedy = 'Boot the guest as PVH (type="pvh").'


class Passthrough(HypervisorError):
    code = "XEN-007"
    cause = "'{name}' has passthrough devices ({devices}); their state cannot be checkpointed"
    remedy = "Detach the devices ('xl pci-detach'), then protect the guest."


class DiskNotInQemu(HypervisorError):
    code = "XEN-008"
    cause = "disk {vdev} of '{name}' is not served by a QEMU, so it cannot be mirrored"
    remedy = (
        "Say 'backendtype=qdisk' in its configuration and start it anew, or serve all of its disks"
        " with 'remus-ha tapdisk --attach', or protect it with '-F -d' if its disks may be lost or"
        " differ after a failover."
    )


class DiskFormat(HypervisorError):
    code = "XEN-022"
    cause = "disk {vdev} of '{name}' has format {format}; only raw and qcow2 ones are replicated"
    remedy = "Convert it ('qemu-img convert -O qcow2'), or protect the guest with '-F -d'."


class DiskChanged(HypervisorError):
    code = "XEN-030"
    cause = "disk {vdev} was {what} while the guest was protected"
    remedy = "The guest runs here, unprotected: protect it again, with the disks that it has now."


class VifChanged(HypervisorError):
    code = "XEN-031"
    cause = "vif {mac} was {what} while the guest was protected"
    remedy = "The guest runs here, unprotected: protect it again, with the vifs that it has now."


class BackendDomain(HypervisorError):
    code = "XEN-009"
    cause = "{device} of '{name}' is served by domain {backend}, not by dom0"
    remedy = "Move the device's backend to dom0; only there can its output be buffered."


class ConfigUnreadable(HypervisorError):
    code = "XEN-010"
    cause = "the configuration of '{name}' could not be read: {detail}"
    remedy = "Try 'xl list -l {name}' by hand."


class NotRoot(HypervisorError):
    code = "XEN-011"
    cause = "this needs root and the Xen control interfaces"
    remedy = "Run it as root in dom0."


class VersionDiffers(HypervisorError):
    code = "XEN-012"
    cause = "this host runs Xen {ours}, the other one Xen {theirs}"
    remedy = "Bring both hosts to the same Xen release."


class NotEnoughMemory(HypervisorError):
    code = "XEN-013"
    cause = "the backup has {free_mib} MiB of free memory, the guest needs {needed_mib} MiB"
    remedy = "Free memory on the backup host or choose another one."


class BridgeMissing(HypervisorError):
    code = "XEN-014"
    cause = "the backup has no bridge '{bridge}' for {vif}"
    remedy = "Create the bridge '{bridge}' on the backup host."


class NameTaken(HypervisorError):
    code = "XEN-015"
    cause = "the backup already has a domain '{name}'"
    remedy = "Look at 'xl list' on the backup; 'remus-ha cleanup' there removes left-overs of ours."


class SaveFailed(HypervisorError):
    code = "XEN-017"
    cause = "the save helper failed: {detail}"
    remedy = "Look at the log of the protection and at 'xl dmesg'."


class RestoreFailed(HypervisorError):
    code = "XEN-018"
    cause = "the restoring process on the backup failed: {detail}"
    remedy = "Look at the receiver's log on the backup and at 'xl dmesg' there."


class RestoreOutstanding(HypervisorError):
    """Said again and again, and never given up: the primary may be dead, and this the only copy."""

    code = "XEN-023"
    cause = "the failover waits for Xen: process {pid} has restored the copy for {seconds:.0f} s"
    remedy = (
        "Look at {log}, at 'xl list' and at 'xl dmesg'. A restore that is stuck can only be killed:"
        " then the copy is lost, and the guest has to be started anew from its disks."
    )


class OtherDevices(HypervisorError):
    code = "XEN-021"
    cause = "'{name}' has devices that are neither replicated nor buffered: {devices}"
    remedy = "Take them out of the guest's configuration, then protect it."


class CommandFailed(HypervisorError):
    code = "XEN-019"
    cause = "'{command}' failed: {detail}"
    remedy = "Run it by hand to see why."
