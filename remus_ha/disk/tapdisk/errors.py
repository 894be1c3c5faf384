"""What can go wrong between two tapdisk-remus peers, or with the FIFOs. Codes DISK-101 onwards.

From DISK-130 on: with the block server that stands between a running guest and its image. From
DISK-150 on: with the daemon that a host runs for such a disk.

Everything that a peer can cause by what it *sends* is a ``WireError``.
"""

from remus_ha.disk.errors import DiskError

_SAME_DISK = "Name the same 'remus:HOST:PORT' disk, of the same size, on both hosts."
_PROTECT_AGAIN = "protect the guest again; its disk is synchronised anew."
_LOOK_AND_PROTECT = "Look at the other host and at the replication link, then " + _PROTECT_AGAIN
_HOLD_OUTPUT = (
    "Release no output of this epoch: end the memory replication first, or let the backup take "
    "over; then look at the backup's disk and " + _PROTECT_AGAIN
)


class TapdiskError(DiskError):
    """Base of everything that this package raises."""


class WireError(TapdiskError):
    """The peer sent octets that the protocol does not allow. The connection is of no more use."""


class UnknownCode(WireError):
    code = "DISK-101"
    cause = "the peer of the disk sent {octets!r}, which is no message that belongs here"
    remedy = "Check that a tapdisk-remus peer, and nothing else, uses this address, then " + (
        _PROTECT_AGAIN
    )


class WriteTooLarge(WireError):
    code = "DISK-102"
    cause = "the peer announced a write of {sectors} sectors; the protocol allows {limit}"
    remedy = "Check that both hosts have the same byte order; larger writes have to be split."


class WriteOutOfRange(WireError):
    code = "DISK-103"
    cause = "a write of {sectors} sectors at sector {sector} is not inside a disk of {size} sectors"
    remedy = _SAME_DISK


class WriteUnaligned(TapdiskError):
    """The protocol knows whole sectors only."""

    code = "DISK-104"
    cause = "a write of {length} octets at octet {offset} is not made of whole 512-octet sectors"
    remedy = "Give the guest a disk of 512-octet sectors."


class PeerUnreachable(TapdiskError):
    code = "DISK-105"
    cause = "no connection with the backup's disk at {address}: {detail}"
    remedy = "Start the backup's side of the disk first, and check the route and the firewall."


class PeerLost(TapdiskError):
    """The connection ended or broke; the kernel's reason is in the cause."""

    code = "DISK-106"
    cause = "the connection to the other host's disk ended: {detail}"
    remedy = _LOOK_AND_PROTECT


class PeerStalled(TapdiskError):
    """The peer is connected and does not go on."""

    code = "DISK-107"
    cause = "the other host's disk has not gone on for {seconds:g} s: {detail}"
    remedy = _LOOK_AND_PROTECT


class CommitOverdue(PeerStalled):
    """The connection is given up: a late ``done`` could be taken for the next epoch's."""

    code = "DISK-108"
    cause = "the backup's disk has not answered the commit within {seconds:g} s"
    remedy = _HOLD_OUTPUT


class CommitOutstanding(TapdiskError):
    """``done`` carries no epoch: two at once could not be told apart."""

    code = "DISK-109"
    cause = "a commit of the disk was asked for while the one before is not answered"
    remedy = "This is a defect: report it with the logs of both hosts."


class CommitsOverlap(WireError):
    """The same, by the peer."""

    code = "DISK-110"
    cause = "the peer of the disk asked for a commit while the one before was not answered"
    remedy = "Let its controller wait for 'done' before it writes the next 'flush'."


class UnexpectedDone(WireError):
    code = "DISK-111"
    cause = "the backup's disk answered a commit that nobody asked for"
    remedy = "Check that one primary alone uses this backup disk, then " + _PROTECT_AGAIN


class BacklogFull(TapdiskError):
    """Nothing of the refused write was queued."""

    code = "DISK-112"
    cause = "the other host's disk has left {queued} octets untaken; the bound is {limit}"
    remedy = _LOOK_AND_PROTECT


class AddressTaken(TapdiskError):
    code = "DISK-113"
    cause = "{address} is in use, so this disk's role cannot be told"
    remedy = "End what uses it ('ss -ltnp' names it), or choose another port on both hosts."


class AddressUnknown(TapdiskError):
    code = "DISK-114"
    cause = "{host} has no IPv4 address: {detail}"
    remedy = "Name the backup host by its IPv4 address."


class UriInvalid(TapdiskError):
    code = "DISK-115"
    cause = "{text!r} does not name a replicated disk: {detail}"
    remedy = "Write 'tap:remus:HOST:PORT|aio:/path', HOST being the backup, alike on both hosts."


class FlushFailed(TapdiskError):
    """tapdisk said ``fail``: the backup does not have this epoch. Never release its output."""

    code = "DISK-116"
    cause = "tapdisk could not send the epoch's commit to the backup ('fail' in {path})"
    remedy = _HOLD_OUTPUT


class FlushOverdue(TapdiskError):
    """tapdisk said nothing; it never does if it is not connected. Never release the output."""

    code = "DISK-117"
    cause = "tapdisk has not answered the flush in {path} within {seconds:g} s"
    remedy = _HOLD_OUTPUT


class FlushOutstanding(TapdiskError):
    """Two commands could be read as one."""

    code = "DISK-118"
    cause = "a flush was asked for while the one before is not answered in {path}"
    remedy = CommitOutstanding.remedy


class BadReply(TapdiskError):
    """What it means is unknown, so the output stays held."""

    code = "DISK-119"
    cause = "tapdisk answered a flush with {octets!r} in {path}"
    remedy = _HOLD_OUTPUT


class TapdiskGone(TapdiskError):
    """Nobody has the other end of the FIFO open. Never release output of an open epoch."""

    code = "DISK-120"
    cause = "no tapdisk serves {path}: {detail}"
    remedy = "Look whether the disk's tapdisk process lives and names this address, then " + (
        _PROTECT_AGAIN
    )


class FifoUnusable(TapdiskError):
    code = "DISK-121"
    cause = "{path} cannot be used as a FIFO: {detail}"
    remedy = "Remove it, unless another tapdisk uses it, and start the disk again."


class ServerRefused(TapdiskError):
    """The block server's own error, carried over from its process."""

    code = "DISK-130"
    cause = "the block server of {disk} refuses: {code}: {cause}"
    remedy = "{remedy}"


class ServerDidNotStart(TapdiskError):
    code = "DISK-131"
    cause = "the block server of {disk} did not start ({detail}); its log is {log}"
    remedy = (
        "Install nbdkit, its Python plugin, Debian's python3-libnbd and qemu-utils here: "
        "'nbdkit python --version' must work."
    )


class ServerGone(TapdiskError):
    """The guest waits until there is another one, and sees no error."""

    code = "DISK-132"
    cause = "the block server of {vdev} has ended; its log is {log}"
    remedy = "Look at that log and at 'dmesg'; then " + _PROTECT_AGAIN


class ReplicationLost(TapdiskError):
    code = "DISK-133"
    cause = "the disk {vdev} is replicated no more: {detail}"
    remedy = _LOOK_AND_PROTECT


class NotReplicating(TapdiskError):
    code = "DISK-134"
    cause = "the block server of {disk} cannot {verb}: it replicates nothing"
    remedy = "This is a defect: report it with the logs of both hosts."


class AlreadyReplicating(TapdiskError):
    code = "DISK-135"
    cause = "the block server of {disk} replicates already, or did before"
    remedy = "This is a defect: report it with the logs of both hosts."


class ImageUnusable(TapdiskError):
    code = "DISK-136"
    cause = "{path}, the image of {disk}, cannot be served: {detail}"
    remedy = "Look whether the guest's disk still lies there; nothing was changed."


class AnotherImage(TapdiskError):
    """To write to the wrong image would destroy it."""

    code = "DISK-137"
    cause = "QEMU's disk {vdev} lies in {theirs}, the guest's configuration names {ours}"
    remedy = "Report this with 'xl list -l' and the guest's QEMU log; nothing was changed."


class NoSuchNode(TapdiskError):
    code = "DISK-138"
    cause = "the guest's QEMU has no block node {node} over a local image"
    remedy = "Only raw images that QEMU itself opens (qdisk) can be moved; see 'xl list -l'."


class ImageInUse(TapdiskError):
    code = "DISK-150"
    cause = "{path} is in use ({by}); two that write to it would destroy it"
    remedy = "End what uses it; the guest gets at it through the disk's daemon alone."


class EpochInDoubt(TapdiskError):
    """The receiver that would know is gone."""

    code = "DISK-151"
    cause = "epoch {n} of {path} was held whole, and a receiver may have committed it or not"
    remedy = (
        "Run 'remus-ha disk recover' for all images of the guest together; "
        "it says which epoch they hold."
    )


class DaemonRuns(TapdiskError):
    code = "DISK-152"
    cause = "the disk at {address} has its daemon on this host already"
    remedy = "End that with 'remus-ha tapdisk --stop URI' first."


class DaemonNotThere(TapdiskError):
    code = "DISK-153"
    cause = "no daemon serves the disk at {address} on this host"
    remedy = "Look whether its process lives, and name the same URI and '--directory'."


class DaemonEnded(TapdiskError):
    code = "DISK-154"
    cause = "the daemon of {disk} has ended by itself, with status {status}"
    remedy = "Look at what it said and at 'dmesg'; its image is as it was, and can be served again."


class EpochTooLarge(TapdiskError):
    """Only its end, which comes behind more of its writes, could make room."""

    code = "DISK-156"
    cause = "the open epoch of {disk} has outgrown the journal of {limit} octets"
    remedy = "Let a controller end epochs as long as the guest runs, or give '--journal' more."


class DaemonUnprotected(TapdiskError):
    code = "DISK-157"
    cause = "the daemon of {disk} on this host is {role}, not primary{reason}"
    remedy = (
        "End the guest, make both images the same, and start the disk again with "
        "'remus-ha tapdisk --in-sync' on both hosts, on the backup first."
    )


class FlushesInTheWay(TapdiskError):
    """Whose epoch the next one to arrive on the backup is could not be told."""

    code = "DISK-158"
    cause = "another controller has ended epochs of {disk}: {detail}"
    remedy = (
        "End that controller, wait until its flushes are answered, and try again. A disk that is "
        "behind the guest's others takes a flush by hand: 'printf flush >FIFO'."
    )


class DaemonUnfit(TapdiskError):
    code = "DISK-159"
    cause = "the daemon of {disk} on {host} cannot keep the guest's epochs: {detail}"
    remedy = (
        "Both images the same, start it there before the primary's: "
        "'remus-ha tapdisk --commit coordinated --attach DEVICE --detach URI'."
    )


class DaemonLost(TapdiskError):
    code = "DISK-160"
    cause = "the daemon of {disk} is lost: {detail}; its log is {log}"
    remedy = (
        "Look at that log and at 'dmesg'. Its guest cannot live on that host; start the daemons of "
        "both hosts again, with both images the same."
    )


class DaemonFinishing(TapdiskError):
    """It has been told to end, and will."""

    code = "DISK-161"
    cause = "the daemon of the disk at {address} has not finished its work within {seconds:g} s"
    remedy = (
        "Its process goes on and ends by itself: wait for that before the disk is started again or "
        "its image used. Killed, it may leave images that have to be made the same."
    )


class DaemonAttended(TapdiskError):
    """A failover that is under way would find no disk."""

    code = "DISK-162"
    cause = "a guest's backup holds its epochs with the daemon of the disk at {address}"
    remedy = "End the guest's protection first: 'remus-ha unprotect NAME' on its primary."


class ImagesApart(TapdiskError):
    code = "DISK-163"
    cause = "the backup's image can no longer be kept like {disk}: {detail}"
    remedy = "Look here at 'dmesg' and at the room beside the image; then replicate it anew."


class DeviceLost(TapdiskError):
    """The kernel's driver has no connection any more, and gives its guest errors."""

    code = "DISK-164"
    cause = "{device} is not attached to the daemon of {disk} any more; its log is {log}"
    remedy = "End the guest, then the daemon ('remus-ha tapdisk --stop URI'), and start both again."


class DeviceInUse(TapdiskError):
    """Without it the guest would get errors."""

    code = "DISK-165"
    cause = "{device} is a disk of the guest {guest}, which runs here"
    remedy = "End the guest first, or take the disk out of it with 'xl block-detach'."


class AttachFailed(TapdiskError):
    code = "DISK-155"
    cause = "{command} failed: {detail}"
    remedy = (
        "Install 'nbd-client' and 'qemu-utils' here, load the kernel's module with 'modprobe nbd',"
        " and try again. A device that is in use is freed by 'nbd-client -d'."
    )
