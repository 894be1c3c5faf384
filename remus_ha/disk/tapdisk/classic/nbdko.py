"""The disk as a block device of this host, by the kernel's nbd driver: for ``phy:/dev/nbdN``.

The driver gives its guest errors as soon as its connection ends. So it is connected to a qemu-nbd,
which outlives the daemon, asks whichever comes next for what a dead one has not answered, and ends
with the driver's connection. Whatever a daemon does answer is passed on, errors too.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from remus_ha.disk.tapdisk.classic.files import Files
from remus_ha.disk.tapdisk.classic.setup import Setup
from remus_ha.disk.tapdisk.errors import AttachFailed
from remus_ha.disk.tapdisk.wire import SECTOR
from remus_ha.waiting import readable

PATIENCE_S = 60  # without a daemon; then the guest gets errors
_COMMAND_S = 30.0


def attach(setup: Setup, files: Files) -> int:
    """Connect the device to the daemon's disk, or take up the connection that has outlived another.

    Returns a descriptor (pidfd_open(2)) that is readable when the device has none of ours any more.
    Signals that are blocked here are so in what stands between: nothing but the device's end ends
    that. Raises AttachFailed; then nothing is left of it.
    """
    command = _command(setup, files)
    relay = _left(command, files)
    if relay >= 0:
        return relay
    for left in (files.relay, files.relay_pid):
        left.unlink(missing_ok=True)
    _run(command)
    relay = _process(files)
    try:
        _run(["nbd-client", "-unix", str(files.relay), setup.device, "-block-size", str(SECTOR)])
    except AttachFailed:
        _kill(relay)
        os.close(relay)
        raise
    finally:
        files.relay.unlink(missing_ok=True)  # nobody else is to come
    return relay


def _command(setup: Setup, files: Files) -> list[str]:
    """The description says to whoever comes later which device is connected."""
    path = _real(Path(setup.nbd)).replace(",", ",,")
    daemon = f"driver=nbd,server.type=unix,server.path={path},reconnect-delay={PATIENCE_S}"
    pid_file, device = f"--pid-file={_real(files.relay_pid)}", f"--description={setup.device}"
    return ["qemu-nbd", "--fork", _serving_at(files), pid_file, device, "--image-opts", daemon]


def _left(command: Sequence[str], files: Files) -> int:
    """The descriptor of what stands between already, -1: nothing. Raises AttachFailed."""
    try:
        relay = _process(files)
    except AttachFailed:
        return -1
    if files.relay.exists():  # who started it has died before it was connected
        _kill(relay)
    elif _words(files) == list(command):
        return relay
    else:
        os.close(relay)
        detail = f"what 'remus-ha tapdisk' has left there ({files.relay_pid}) serves another device"
        raise AttachFailed(command=" ".join(command), detail=detail)
    os.close(relay)
    return -1


def is_attached(files: Files) -> bool:
    """Whether something stands between a device and the daemon still."""
    try:
        os.close(_process(files))
    except AttachFailed:
        return False
    return True


def detach(device: str, files: Files) -> None:
    """Before its daemon ends: what has still to be flushed is. Raises AttachFailed."""
    try:
        relay = _process(files)
    except AttachFailed:  # its connection is lost; the driver may not have forgotten it
        with contextlib.suppress(AttachFailed):
            _run(["nbd-client", "-d", device])
        return
    try:
        _run(["nbd-client", "-d", device])
        if not readable(relay, _COMMAND_S):
            _kill(relay)
    finally:
        os.close(relay)


def abandon(device: str, relay: int) -> None:
    """No daemon comes any more: the guest gets its errors now. ``relay`` is from ``attach``."""
    with contextlib.suppress(AttachFailed):
        _run(["nbd-client", "-d", device])
    _kill(relay)  # it would wait for a daemon still


def _kill(relay: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has had a client already, and lost it
        signal.pidfd_send_signal(relay, signal.SIGKILL)


def _process(files: Files) -> int:
    try:
        pid = int(files.relay_pid.read_text())
        found = os.pidfd_open(pid)
    except (OSError, ValueError) as e:
        raise AttachFailed(command="qemu-nbd", detail=e) from e
    if _serving_at(files) not in _words(files):
        os.close(found)
        raise AttachFailed(command="qemu-nbd", detail=f"process {pid} is another one")
    return found


def _words(files: Files) -> list[str]:
    """Of its command; none where it is gone."""
    try:
        pid = int(files.relay_pid.read_text())
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (OSError, ValueError):
        return []


def _serving_at(files: Files) -> str:
    return f"--socket={_real(files.relay)}"


def _real(path: Path) -> str:
    """The same whichever way it is reached: /var/run is a link."""
    return str(path.parent.resolve() / path.name)


def _run(command: Sequence[str]) -> None:
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_COMMAND_S, umask=0o077
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise AttachFailed(command=shown, detail=e) from e
    if done.returncode:
        detail = " ".join((done.stderr + done.stdout).split()) or f"status {done.returncode}"
        raise AttachFailed(command=shown, detail=detail)
