"""Suspending, resuming and watching one domain, without libxl's polling.

A suspend is asked for as libxl asks (``control/shutdown`` = ``suspend``, the only way that
current Linux guests know) and seen through xenstored's ``@releaseDomain`` watch, which fires
when a domain's life changes.
"""

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from typing import Any

from remus_ha.hypervisor import errors
from remus_ha.hypervisor.base import DomainControl, Life
from remus_ha.hypervisor.xen import paths

_COMMAND_S = 30.0
_REASONS = {0: Life.POWEROFF, 1: Life.REBOOT, 2: Life.SUSPENDED, 3: Life.CRASHED}
_LOGDIRTY_OFF = 0  # XEN_DOMCTL_SHADOW_OP_OFF


def life_of(info: dict[str, Any] | None, domid: int) -> Life:
    """Judge what ``xc.domain_getinfo`` returned for a domain."""
    if info is None or info["domid"] != domid or info["dying"]:
        return Life.GONE
    if info["crashed"]:
        return Life.CRASHED
    if info["shutdown"]:
        return _REASONS.get(info["shutdown_reason"], Life.CRASHED)
    return Life.PAUSED if info["paused"] else Life.RUNNING


def info_of(xc: Any, domid: int) -> dict[str, Any] | None:
    """What Xen says of the domain of that id or the next higher one; None where there is none."""
    try:
        infos: list[dict[str, Any]] = xc.domain_getinfo(domid, 1)
    except Exception as e:  # xen.lowlevel.xc.Error derives from nothing more special
        if e.args[:1] == (errno.ESRCH,):
            return None
        raise
    return infos[0] if infos else None


class XenDomain(DomainControl):
    """Control of one running domain through libxenctrl and xenstore."""

    def __init__(self, domid: int, version: str, *, watch: bool = True) -> None:
        """``watch`` False: only for a look or a deed, ``fileno`` never becomes readable."""
        paths.add_bindings(version)
        from xen.lowlevel import xc, xs  # noqa: PLC0415  (needs dom0)

        self.domid = domid
        self._xc = xc.xc()
        self._xs = xs.xs()
        self._errors: tuple[type[Exception], ...] = (xc.Error, xs.Error)
        self._shutdown = f"/local/domain/{domid}/control/shutdown"
        if watch:
            self._xs.watch("@releaseDomain", "life")
            self._xs.watch(self._shutdown, "request")

    def fileno(self) -> int:
        return int(self._xs.fileno())

    def drain(self) -> None:
        while self._xs.check_watch() is not None:
            pass

    def life(self) -> Life:
        return life_of(info_of(self._xc, self.domid), self.domid)

    def request_suspend(self) -> None:
        with self._gone_is_fine():
            self._xs.write("", self._shutdown, "suspend")

    def withdraw_suspend(self) -> bool:
        """A transaction: the guest takes a request by emptying the node."""
        with self._gone_is_fine():
            return self._withdraw()
        return True

    def _withdraw(self) -> bool:
        while True:
            transaction = self._xs.transaction_start()
            taken = self._xs.read(transaction, self._shutdown) != b"suspend"
            if not taken:
                self._xs.write(transaction, self._shutdown, "")
            if self._xs.transaction_end(transaction):
                return not taken

    def resume(self) -> bool:
        suspended = self.life() is Life.SUSPENDED
        if suspended:
            self.resume_now()
            self.rearm()
        return suspended

    def resume_now(self) -> None:
        with self._gone_is_fine():
            self._xc.domain_resume(self.domid, 1)

    def rearm(self) -> None:
        """xenstored forgets that it has reported this domain's suspend.

        Without this the next one would fire no watch.
        """
        with self._gone_is_fine():
            self._xs.resume_domain(self.domid)

    def stop_tracking(self) -> None:
        """Take the domain out of log-dirty mode, whoever left it there."""
        # Xen's refusal means that it was not in that mode, or is gone.
        with contextlib.suppress(*self._errors):
            self._xc.shadow_control(self.domid, _LOGDIRTY_OFF)

    @contextlib.contextmanager
    def _gone_is_fine(self) -> Iterator[None]:
        """A domain may be destroyed at any moment: the next ``life`` tells.

        Raises CommandFailed for one that is still there.
        """
        try:
            yield
        except self._errors as e:
            if self.life() is not Life.GONE:
                raise errors.CommandFailed(
                    command=f"control of domain {self.domid}", detail=e
                ) from e

    def pause(self) -> None:
        info = info_of(self._xc, self.domid)
        alive = life_of(info, self.domid) in (Life.RUNNING, Life.SUSPENDED)
        if alive and info is not None and not info["paused"]:  # Xen counts the pauses
            with self._gone_is_fine():
                self._xc.domain_pause(self.domid)

    def unpause(self) -> None:
        if self.life() is Life.PAUSED:
            with self._gone_is_fine():
                self._xc.domain_unpause(self.domid)

    def destroy(self) -> None:
        if self.life() is not Life.GONE:
            xl("destroy", str(self.domid))

    def close(self) -> None:
        self._xs.close()


def xl(*args: str, timeout_s: float = _COMMAND_S) -> str:
    """Run ``xl`` and return its output. Raises CommandFailed, ToolMissing."""
    command = ["xl", *args]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as e:
        raise errors.ToolMissing(tool="xl") from e
    except subprocess.TimeoutExpired as e:
        detail = f"no answer in {timeout_s} s"
        raise errors.CommandFailed(command=" ".join(command), detail=detail) from e
    if done.returncode:
        detail = done.stderr.strip() or f"exit status {done.returncode}"
        raise errors.CommandFailed(command=" ".join(command), detail=detail)
    return done.stdout
