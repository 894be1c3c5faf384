"""What the lab needs of the machine it runs on, and which Debian package brings it."""

import os
import shutil

from remus_ha.lab.errors import NotRoot, ToolsMissing

PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "cpio": "cpio",
    "/bin/busybox": "busybox-static",
    "mkfs.ext4": "e2fsprogs",
    "gcc": "gcc libc6-dev",
    "/usr/include/sqlite3.h": "libsqlite3-dev",
    "ssh": "openssh-client",
    "zstd": "zstd",
    "ip": "iproute2",
    "etcd": "etcd-server",
    "etcdctl": "etcd-client",
}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def missing() -> list[str]:
    """The needed programs, and files by their paths, that are not there."""
    return [name for name in PACKAGES if not _there(name)]


def _there(name: str) -> bool:
    if os.path.isabs(name):
        return os.path.exists(name)
    return shutil.which(name, path=_PATH) is not None


def require() -> None:
    """Raise NotRoot or ToolsMissing unless the lab can work here."""
    if os.geteuid() != 0:
        raise NotRoot()
    absent = missing()
    if absent:
        packages = " ".join(sorted({PACKAGES[program] for program in absent}))
        raise ToolsMissing(programs=", ".join(absent), packages=packages)
