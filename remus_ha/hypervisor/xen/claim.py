"""Setting memory of the host apart for a domain that is being built or restored.

Xen keeps a claim per domain (XENMEM_claim_pages): pages that nobody else can have, fewer with
every page that the domain gets. It ends with the domain. xl never claims for a restore, so
without it the backup's memory could be gone before the first copy has arrived.
"""

import ctypes
import errno

PAGE_KIB = 4


def claim(version: str, domid: int, kib: int) -> int:
    """Claim ``kib`` KiB in all for a domain, 0 to give the rest back. An errno, 0 for success.

    EINVAL: the domain may not have as much, or has it already. ENOMEM: the host does not have it.
    ENOSYS: this Xen's library cannot claim.
    """
    try:
        return _claim(ctypes.CDLL(f"libxenctrl.so.{version}", use_errno=True), domid, kib)
    except (OSError, AttributeError):
        return errno.ENOSYS


def _claim(library: ctypes.CDLL, domid: int, kib: int) -> int:
    library.xc_interface_open.restype = ctypes.c_void_p
    library.xc_interface_open.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
    library.xc_interface_close.argtypes = [ctypes.c_void_p]
    library.xc_domain_claim_pages.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_ulong]
    handle = library.xc_interface_open(None, None, 0)
    if not handle:
        return ctypes.get_errno() or errno.EPERM
    try:
        if library.xc_domain_claim_pages(handle, domid, kib // PAGE_KIB) == 0:
            return 0
        return ctypes.get_errno() or errno.EINVAL
    finally:
        library.xc_interface_close(handle)
