"""Kernel modules that buffering needs."""

import logging
import subprocess
from pathlib import Path

LOG = logging.getLogger(__name__)

_MODPROBE_S = 30
_SYS_MODULE = Path("/sys/module")
_IFB = ("ifb", "numifbs=0")  # without the parameter two devices appear that nobody asked for
_WANTED: tuple[tuple[str, ...], ...] = (
    ("sch_plug",),
    ("sch_ingress",),
    ("cls_matchall",),
    ("act_mirred",),
)


def load_modules(*, own_ifbs: bool = True) -> None:
    """Load what is not there yet; without ``own_ifbs`` the number of ifbs is the operator's choice.

    A failure is only logged: the code may be built in, and where it is missing the kernel says so
    when it is asked for a device.
    """
    for module, *parameters in (_IFB, *_WANTED) if own_ifbs else _WANTED:
        if not (_SYS_MODULE / module).exists():
            _modprobe(module, parameters)


def _modprobe(module: str, parameters: list[str]) -> None:
    try:
        done = subprocess.run(
            ["modprobe", "-q", module, *parameters],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MODPROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        LOG.debug("modprobe %s: %s", module, e)
        return
    if done.returncode:
        LOG.debug("modprobe %s: status %d %r", module, done.returncode, done.stderr)
