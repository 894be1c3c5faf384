"""Restarting libvirt's daemon: only then does it look for domains that it did not start itself.

Its guests do not notice, and it starts nothing by itself but at its first start after a boot.
"""

import shlex
import subprocess
from pathlib import Path

from remus_ha import conf
from remus_ha.hypervisor.libvirt.errors import NobodyRestarts, RestartFailed

_SYSTEMD = Path("/run/systemd/system")
_UNITS = "virtxend.service libvirtd.service"  # those that run are restarted
RESTART_S = 60.0


def restart() -> None:
    """Returns when the command does. Raises NobodyRestarts, RestartFailed, ConfigBroken."""
    words = _command()
    command = shlex.join(words)
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=RESTART_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise RestartFailed(command=command, detail=e) from e
    if done.returncode:
        detail = done.stderr.strip() or f"exit status {done.returncode}"
        raise RestartFailed(command=command, detail=detail)


def _command() -> list[str]:
    given = conf.text("libvirt", "restart")
    if given:
        return shlex.split(given)
    if not _SYSTEMD.exists():
        raise NobodyRestarts(config=conf.PATH)
    return shlex.split(f"systemctl try-restart {_UNITS}")
