"""Whether libvirt's daemon runs on this host."""

import socket
from pathlib import Path

# Of the one daemon for everything, and of the one for Xen.
SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtxend-sock"))


def runs() -> bool:
    """Whether a daemon takes connections here."""
    return any(_answers(path) for path in SOCKETS)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        try:
            s.connect(str(path))
        except OSError:
            return False
    return True
