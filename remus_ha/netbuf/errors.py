"""Why output cannot be buffered, or why a hook was refused."""

from remus_ha.exceptions import RemusError


class NetbufError(RemusError):
    """Base of everything that network buffering raises."""

    code = "NETBUF-000"


class PlugMissing(NetbufError):
    code = "NETBUF-001"
    cause = "the kernel of this host has no 'plug' queueing discipline (sch_plug)"
    remedy = "Install a kernel with CONFIG_NET_SCH_PLUG and run 'modprobe sch_plug'."


class IfbMissing(NetbufError):
    code = "NETBUF-002"
    cause = "the kernel of this host cannot make an ifb device"
    remedy = "Install a kernel with CONFIG_IFB and run 'modprobe ifb numifbs=0'."


class RedirectMissing(NetbufError):
    code = "NETBUF-003"
    cause = "the kernel of this host cannot redirect all frames of {vif} ({detail})"
    remedy = (
        "Install a kernel with CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_MATCHALL and "
        "CONFIG_NET_ACT_MIRRED and run 'modprobe -a sch_ingress cls_matchall act_mirred'."
    )


class VifVanished(NetbufError):
    code = "NETBUF-004"
    cause = "network device {device} does not exist any more"
    remedy = "See with 'xl network-list DOMAIN' whether the guest still has it; protect it again."


class ForeignIngress(NetbufError):
    code = "NETBUF-005"
    cause = "{vif} already has a {kind} queueing discipline that is not ours; it was not touched"
    remedy = (
        "See 'tc filter show dev {vif} ingress'; remove the policing or offload that owns it, "
        "then protect the guest again."
    )


class KernelRefused(NetbufError):
    code = "NETBUF-006"
    cause = "the kernel refused to {action} on {device}: {error}"
    remedy = "Run as root on dom0; if that is so already, report this with 'tc -s qdisc' output."


class NoAcknowledgement(NetbufError):
    code = "NETBUF-007"
    cause = "the kernel did not acknowledge every request of a batch ({detail})"
    remedy = "Output stays held. Restart the protection; look for rtnetlink trouble in 'dmesg'."


class HookRefused(NetbufError):
    code = "NETBUF-008"
    cause = "{hook} is not possible while the output is {mode}"
    remedy = "Output stays as it is. End this session and start a new one with 'remus-ha protect'."


class LimitOutOfRange(NetbufError):
    code = "NETBUF-009"
    cause = "a plug of {limit_bytes} octets is not possible"
    remedy = "Choose a limit between {lowest} and {highest} octets."


class LeftoverInTheWay(NetbufError):
    code = "NETBUF-010"
    cause = "{vif} is still redirected to {ifb}, left by session {session} of guest {guest}"
    remedy = "Run 'remus-ha cleanup' on this host, do what it says, then protect the guest again."


class DrainTimeout(NetbufError):
    code = "NETBUF-011"
    cause = "{ifb} still held {backlog} frames {timeout_s} s after its release"
    remedy = "Run 'remus-ha cleanup'; see 'tc -s qdisc show dev {ifb}' for what is stuck."


class BadAddress(NetbufError):
    code = "NETBUF-012"
    cause = "{text!r} is not {expected}"
    remedy = "Give a MAC as six hexadecimal octets and addresses in their usual notation."


class ScriptUnusable(NetbufError):
    code = "NETBUF-013"
    cause = "the script {script} of -N {why}"
    remedy = "Name an executable file of this host, at most {longest} octets with its path."


class ScriptFailed(NetbufError):
    code = "NETBUF-014"
    cause = "{script} failed for {vif}: {detail}"
    remedy = "Look at its log (Xen's scripts: /var/log/xen/xen-hotplug.log), or run it: {by_hand}"


class ScriptHung(NetbufError):
    code = "NETBUF-015"
    cause = "the {word} of {script} for {vif} did not end in time and was killed"
    remedy = "Run it by hand to see what it waits for: {by_hand}"


class ScriptNamesNoIfb(NetbufError):
    code = "NETBUF-016"
    cause = "{script} succeeded for {vif} without writing an ifb's name to $XENBUS_PATH/ifb"
    remedy = "See what it does by hand: {by_hand}; a sample is etc/netbuf/remus-ha-netbuf."


class ScriptIfbUnusable(NetbufError):
    code = "NETBUF-017"
    cause = "{script} has put {vif} behind {ifb}, which {what}"
    remedy = (
        "A vif needs an ifb of its own with a plug as its root, and an ingress qdisc that redirects"
        " to it; etc/netbuf/remus-ha-netbuf of the source tree is a script that does that."
    )


class RedirectsTooLittle(NetbufError):
    code = "NETBUF-018"
    cause = "{script} lets frames of {vif} go past {ifb}: {detail}"
    remedy = (
        "Let it run 'tc filter add dev {vif} parent ffff: protocol all matchall action mirred"
        " egress redirect dev {ifb}'. With -F it is taken as it is: what goes past is not held."
    )
