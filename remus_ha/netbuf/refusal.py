"""From an errno of the kernel to an error that an operator can act on."""

import errno
import os

from remus_ha.netbuf.errors import KernelRefused, NetbufError, VifVanished

_NOT_BUILT = (errno.ENOENT, errno.EOPNOTSUPP)


def refusal(
    code: int,
    device: str,
    action: str,
    *,
    missing: NetbufError | None = None,
    taken: NetbufError | None = None,
) -> NetbufError:
    """The error for ``code``, met when the kernel was to do ``action`` to ``device``.

    ``missing`` stands for "the kernel lacks the code for that", ``taken`` for "it exists".
    """
    if code in _NOT_BUILT and missing is not None:
        return missing
    if code == errno.EEXIST and taken is not None:
        return taken
    if code == errno.ENODEV:
        return VifVanished(device=device)
    return KernelRefused(action=action, device=device, error=os.strerror(code))
