"""Letting a guest's sends complete while dom0 holds the frames.

netback lends the guest's own pages to the frames that it takes in, and answers the guest when the
frames are freed. A frame held in a plug is not, so to the guest it is still in its card: its
sockets' send buffers fill, and TCP stops a flow after a few of them. A packet socket on the vif
makes the kernel copy such pages before anything else happens to a frame (``deliver_skb`` calls
``skb_orphan_frags_rx``, Linux net/core/dev.c), which answers the guest. The socket's filter refuses
every frame, so nothing is queued on it. When its owner dies the guest is only slower.
"""

import ctypes
import socket
import struct

from remus_ha.netbuf.refusal import refusal

_ETH_P_ALL = 3
_SO_ATTACH_FILTER = 26
_REFUSE_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0 octets


class CompletionTap:
    """Completes what comes in by one device until it is closed. Raises VifVanished."""

    def __init__(self, device: str) -> None:
        program = ctypes.create_string_buffer(_REFUSE_ALL, len(_REFUSE_ALL))
        # Protocol 0: it sees nothing before it is bound, and is bound with its filter on.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            fprog = struct.pack("@HP", 1, ctypes.addressof(program))
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
            self._socket.bind((device, _ETH_P_ALL))
        except OSError as e:
            self._socket.close()
            raise refusal(e.errno or 0, device, "listen on a device") from e

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()
