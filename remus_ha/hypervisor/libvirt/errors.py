"""What can be wrong between us and libvirt, each with a stable code."""

from remus_ha.hypervisor.errors import HypervisorError


class LibvirtError(HypervisorError):
    """Base of this package's errors."""


class BindingsMissing(LibvirtError):
    code = "LIBVIRT-001"
    cause = "libvirt runs here, and its Python module is not there: {detail}"
    remedy = "Install Debian's python3-libvirt; without it nobody knows whether a guest is its own."


class LibvirtRefused(LibvirtError):
    code = "LIBVIRT-002"
    cause = "libvirt refuses to {action} '{name}': {detail}"
    remedy = "Look at libvirt's log, then run the command again."


class NotAdopted(LibvirtError):
    code = "LIBVIRT-003"
    cause = "libvirt here does not control '{name}': {detail}"
    remedy = (
        "The guest runs, and xl knows it. Once libvirt's daemon can be started, 'remus-ha adopt"
        " {name}' makes it libvirt's."
    )


class NobodyRestarts(LibvirtError):
    code = "LIBVIRT-004"
    cause = "there is no systemd here, and nothing else is known to restart libvirt's daemon"
    remedy = "Name a command in {config}: [libvirt] restart = COMMAND."


class RestartFailed(LibvirtError):
    code = "LIBVIRT-005"
    cause = "'{command}' has not restarted libvirt's daemon: {detail}"
    remedy = "Start the daemon by hand."


class DefinitionBroken(LibvirtError):
    code = "LIBVIRT-006"
    cause = "what libvirt says of '{name}' cannot be read: {detail}"
    remedy = "Look at 'virsh dumpxml {name}'."


class NothingKept(LibvirtError):
    code = "LIBVIRT-007"
    cause = "nothing is kept here of a guest '{name}' of libvirt's"
    remedy = "Look at 'virsh list --all': it is not in our custody."


class Absent(LibvirtError):
    """Only a remark: the guest itself can be protected."""

    code = "LIBVIRT-008"
    cause = "libvirt does not run on {host}: after a failover only xl would know '{name}' there"
    remedy = "Start libvirt's daemon there."


class StillProtected(LibvirtError):
    code = "LIBVIRT-009"
    cause = "'{name}' has a session on this host, which tells libvirt when it ends"
    remedy = "Look at 'remus-ha status'."


class LivesHere(LibvirtError):
    code = "LIBVIRT-010"
    cause = "'{name}' runs here as domain {domid}"
    remedy = "Leave --elsewhere out, or destroy the domain first if the other host has the guest."


class InCustody(LibvirtError):
    code = "LIBVIRT-011"
    cause = (
        "libvirt's definition of '{name}' on this host is still as a protection left it: no"
        " autostart, and vifs that come up shut"
    )
    remedy = (
        "Ask the register ('remus-ha witness show URL {uuid}'). Where the guest is this host's, or"
        " nobody's, 'remus-ha adopt {name}' makes it as it was; where it is another host's,"
        " 'remus-ha adopt --elsewhere {name}' removes it here."
    )
