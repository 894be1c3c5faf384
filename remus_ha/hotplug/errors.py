"""Why a vif could not be opened or shut, or a configuration not be made shut."""

from remus_ha.exceptions import RemusError


class VifNotOpened(RemusError):
    code = "VIF-001"
    cause = "{vif} could not be opened: {detail}"
    remedy = "Put it into its bridge by hand ('ip link set {vif} master BRIDGE up')."


class VifNotShut(RemusError):
    code = "VIF-002"
    cause = "{vif} could not be shut: {detail}"
    remedy = "Take it down by hand ('ip link set {vif} down') or destroy the domain."


class ForeignBackend(RemusError):
    code = "VIF-003"
    cause = "the guest's vif {mac} has its backend in domain {backend}, not in dom0"
    remedy = "Move the vif's backend to dom0: output is buffered and vifs are shut only there."


class NoMac(RemusError):
    code = "VIF-004"
    cause = "the guest's configuration names no MAC for vif {devid}"
    remedy = "Set 'mac=' in the guest's vif line: a copy with another MAC is another guest."


class BadRecord(RemusError):
    code = "VIF-005"
    cause = "the record of a vif cannot be {action}: {detail}"
    remedy = "A vif with an unreadable record comes up shut; remove {path} if it is of no use."


class AutostartsOpen(RemusError):
    code = "VIF-006"
    cause = "{host} starts '{name}' at boot ({entry}), and '{script}' opens its vifs at once"
    remedy = (
        "Turn that off while the guest is protected{instead}: a host that comes back would let a"
        " second copy out. -F protects the guest all the same."
    )


class StartsOpen(RemusError):
    """A warning."""

    code = "VIF-007"
    cause = "an old copy of '{name}' that is started on {host} comes up open, by '{script}'"
    remedy = "Do not start it there by hand while another host may have it{instead}."
