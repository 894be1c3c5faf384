"""What can go wrong between primary and backup. Codes STREAM-001 onwards, stable.

Everything that a peer can cause by what it *sends* is a ``ProtocolError``; what a connection, a
port or a pipe does is not.
"""

from remus_ha.exceptions import RemusError


class ProtocolError(RemusError):
    """The peer sent octets that the protocol does not allow. The connection is of no more use."""

    code = "STREAM-001"
    cause = "The peer broke the control protocol: {detail}."
    remedy = (
        "Install the same release of remus_ha on both hosts, then protect the guest again; "
        "if it comes back, something else answers on that port."
    )


class FrameTooLarge(ProtocolError):
    """A frame's header announces more than the limit."""

    code = "STREAM-002"
    cause = "The peer announced a control frame of {size} octets; the limit is {limit}."


class VersionMismatch(ProtocolError):
    """The peer speaks another version of the protocol."""

    code = "STREAM-003"
    cause = "The peer speaks version {theirs} of the control protocol, this host version {ours}."
    remedy = "Install the same release of remus_ha on both hosts, then protect the guest again."


class UnknownFrame(ProtocolError):
    """A frame of a type that this version does not define, or only reserves."""

    code = "STREAM-004"
    cause = "The peer sent a control frame of the unknown type {type}."
    remedy = VersionMismatch.remedy


class PeerClosed(RemusError):
    """The connection to the peer ended or broke; the kernel's reason is in the cause."""

    code = "STREAM-005"
    cause = "The connection to the peer ended: {detail}."
    remedy = "Look at the other host and at the replication link, then protect the guest again."


class HandshakeFailed(RemusError):
    """No TLS connection came about."""

    code = "STREAM-006"
    cause = "No secure connection with the peer: {detail}."
    remedy = "Check that remus_ha, and nothing else, answers there, then protect the guest again."


class WrongPeer(HandshakeFailed):
    """Somebody answered who does not hold the key of the certificate that was agreed on."""

    code = "STREAM-007"
    cause = "The other end is not the peer that this session was arranged with: {detail}."
    remedy = (
        "Check that the host name leads to the backup host itself, and that no other session "
        "uses these ports."
    )


class NotAnOffer(RemusError):
    """The channel that starts the receiver brought something else than its one line."""

    code = "STREAM-008"
    cause = "The other host did not answer with a remus-ha line: {detail}."
    remedy = (
        "Run the same command by hand, for example 'ssh HOST remus-ha --version': it must log "
        "in without a question, and the same release must be installed there."
    )


class SendQueueFull(RemusError):
    """The peer takes nothing off the control channel and the queue has reached its bound."""

    code = "STREAM-009"
    cause = "The peer has left {queued} octets of control frames unread; the bound is {limit}."
    remedy = PeerClosed.remedy


class Unreachable(RemusError):
    """No TCP connection within the deadline."""

    code = "STREAM-010"
    cause = "No connection with {address}: {detail}."
    remedy = "Check the route, the firewall and the replication address of the other host."


class StreamOverrun(ProtocolError):
    """The data stream is already past the end that was announced for the epoch."""

    code = "STREAM-011"
    cause = "The memory stream stands at octet {offset}, past the epoch's end at {limit}."


class ReaderGone(RemusError):
    """The process that reads the pipe, on the backup the restore, has ended."""

    code = "STREAM-012"
    cause = "The process that reads the memory stream has ended."
    remedy = "Look at the restore's messages in the receiver's log on the backup host."


class XenStreamInvalid(RemusError):
    """A Xen memory stream breaks its own format."""

    code = "STREAM-013"
    cause = "Not a valid Xen memory stream at octet {offset}: {detail}."
    remedy = "Check that both hosts run a supported Xen release, 4.14 to 4.22."


class RelayGone(RemusError):
    """The process that encrypts the data stream."""

    code = "STREAM-015"
    cause = "The process that encrypts the memory stream is of no use: {detail}."
    remedy = "Look at the log of the guest's process on this host, then protect the guest again."


class PortInUse(RemusError):
    """The address to listen on cannot be had."""

    code = "STREAM-014"
    cause = "Cannot listen on {address}: {detail}."
    remedy = "Choose another port, or end what uses it ('ss -ltnp' names it)."
