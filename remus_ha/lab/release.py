"""The Debian releases that a lab's hosts can be, and all that differs between them."""

import os
from dataclasses import dataclass

from remus_ha.lab.errors import BadValue

VARIABLE = "REMUS_HA_LAB_RELEASE"
_PACKAGES = (
    "xen-hypervisor-{xen}-amd64 xen-utils-{xen} xenstore-utils linux-image-amd64 iproute2 "
    "openssh-server python3 kmod socat ethtool procps busybox-static tcpdump strace "
    "libvirt-daemon-system libvirt-daemon-driver-xen libvirt-clients python3-libvirt "
    "python3-pyroute2 python3-stevedore python3-pbr python3-cryptography python3-setproctitle gdb "
    "iputils-ping qemu-system-xen nbdkit nbdkit-plugin-python python3-libnbd qemu-utils nbd-client "
    "e2fsprogs"
)


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    ``xen`` is its Xen's version, as its packages are named; ``python`` its Python's; ``modules``
    the directory that its kernel's package has the modules in.
    """

    name: str
    xen: str
    python: tuple[int, int]
    modules: str

    @property
    def packages(self) -> list[str]:
        """What a dom0 has."""
        return _PACKAGES.format(xen=self.xen).split()


BOOKWORM = Release("bookworm", "4.17", (3, 11), "/lib/modules")
TRIXIE = Release("trixie", "4.20", (3, 13), "/usr/lib/modules")
RELEASES = {release.name: release for release in (BOOKWORM, TRIXIE)}


def release_of(name: str) -> Release:
    """The release called ``name``. BadValue."""
    try:
        return RELEASES[name]
    except KeyError:
        wanted = " or ".join(RELEASES)
        raise BadValue(what="the lab's release", value=name, wanted=wanted) from None


def default_release() -> Release:
    """What REMUS_HA_LAB_RELEASE names, else bookworm. BadValue."""
    return release_of(os.environ.get(VARIABLE) or BOOKWORM.name)
