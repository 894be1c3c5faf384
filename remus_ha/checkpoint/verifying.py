"""Verifying the disks of a guest that runs and is protected (``remus-ha disk verify``).

``verification`` says what is looked at and what that means; here it is done, at most one look an
epoch. What the guest pays is a read of one piece out of this host's memory while it is suspended
and its memory is copied; if that takes longer than ``READ_S`` the look is dropped, and tried again
at the next epoch. All else is done between an acknowledgement and the next suspend. Nothing at all
is done while nothing is verified.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from remus_ha.checkpoint.reader import Reader
from remus_ha.checkpoint.session import SessionDisk
from remus_ha.checkpoint.verification import Look, Range, Tally, Verification
from remus_ha.disk import qemuimg
from remus_ha.disk.digests import SECTOR, WHOLE_MAX, digests
from remus_ha.disk.store.image import size_of
from remus_ha.exceptions import RemusError
from remus_ha.stream.frames import DiskHashed

READ_S = 0.002
PIECE = 1 << 20  # octets an epoch, where nothing else is asked for
PIECE_MIN = 4096
PATIENCE = 300  # epochs without a look that counts
UNASKED_S = 60.0  # whoever wants to know asks again within that time
SHOWN = 10  # places that are told


class VerifyState(RemusError):
    code = "VERIFY-001"
    cause = "the disks of '{name}' cannot be verified: the guest is {state}"
    remedy = "Wait until 'remus-ha status' says protected."


class NothingToVerify(RemusError):
    code = "VERIFY-002"
    cause = "'{name}' has no replicated disk"
    remedy = "Only the disks of a guest that is protected without '-d' can be verified."


class VerifyRunning(RemusError):
    code = "VERIFY-003"
    cause = "the disks of '{name}' are being verified already"
    remedy = "Wait for it, or end it with ctrl-C where it was begun."


class VerifyUnknown(RemusError):
    code = "VERIFY-004"
    cause = "the backup {host} is of a release that cannot verify disks"
    remedy = "Upgrade remus_ha there, then protect the guest again."


class VerifyImage(RemusError):
    code = "VERIFY-005"
    cause = "{path}, disk {vdev} of the guest, cannot be read: {detail}"
    remedy = "Look at 'dmesg' on this host; the guest's own reads may fail as well."


class VerifyFormat(RemusError):
    code = "VERIFY-010"
    cause = "{path}, disk {vdev} of the guest, is a {format} image: only raw ones can be verified"
    remedy = "End the guest and compare the images of both hosts with 'qemu-img compare'."


class VerifyStalled(RemusError):
    code = "VERIFY-008"
    cause = "no look at {vdev} at {offset} succeeded in {epochs} epochs: {detail}"
    remedy = "Try again when the disks are less busy, or with a smaller '--rate'."


class VerifyEnded(RemusError):
    code = "VERIFY-009"
    cause = "the verification was ended: {detail}"
    remedy = "Begin it again while the guest is protected."


class _Work:
    """One verification on its way. Raises VerifyImage, VerifyFormat."""

    def __init__(self, disks: Sequence[SessionDisk], piece: int) -> None:
        self.rules = Verification({disk.vdev: disk.size for disk in disks}, piece)
        self.reader = Reader(_open_all(disks), piece)
        self.look: Look | None = None
        self.epoch: int | None = None  # of the look, from that epoch's suspend on
        self.read = False  # this host's octets of the look are in the reader
        self.answer: DiskHashed | None = None
        self.failures = 0  # epochs since a look that counted


class Verifying:
    """``hash_there(n, look)`` asks the backup. ``log`` takes what is an event."""

    def __init__(
        self,
        name: str,
        disks: Sequence[SessionDisk],
        *,
        hash_there: Callable[[int, Look], None],
        log: Callable[[str], None],
    ) -> None:
        self._name, self._disks = name, tuple(disks)
        self._hash_there, self._log = hash_there, log
        self._work: _Work | None = None
        self._tallies: dict[str, Tally] = {}
        self._bad: set[str] = set()  # disks with a mismatch, until a whole verification finds none
        self._error: RemusError | None = None
        self._hopeless = False
        self._began = self._ended = self._asked = 0.0

    def begin(self, rate: int) -> None:
        """``rate``: octets an epoch, 0: the usual.

        Raises NothingToVerify, VerifyRunning, VerifyImage, VerifyFormat.
        """
        if not self._disks:
            raise NothingToVerify(name=self._name)
        if self._work is not None:
            raise VerifyRunning(name=self._name)
        wanted = min(max(rate or PIECE, PIECE_MIN), WHOLE_MAX)
        self._work = _Work(self._disks, wanted - wanted % SECTOR)
        self._tallies, self._hopeless = self._work.rules.tallies, False
        self._error = None
        self._began = self._asked = time.monotonic()
        self._log("the disks are being verified")

    # --- in an epoch

    def suspended(self, n: int) -> None:
        """The guest is suspended, and epoch ``n`` has been ended on its disks."""
        work = self._work
        if work is not None and work.look is not None and work.epoch in (None, n):
            work.epoch = n
            work.read = work.reader.begin(work.look) and work.reader.wait(READ_S)

    def closing_there(self, n: int) -> None:
        """The backup has been told to close epoch ``n``, before the suspend's work or after it."""
        work = self._work
        if work is not None and work.look is not None and work.epoch in (None, n):
            work.epoch = n
            self._hash_there(n, work.look)

    def answered(self, answer: DiskHashed) -> None:
        """The backup's answer; one that nobody waits for is dropped."""
        work = self._work
        if work is None or work.look is None:
            return
        if (answer.n, answer.vdev) == (work.epoch, work.look.vdev):
            work.answer = answer

    def acknowledged(self) -> None:
        """An epoch is over and the next one is not due yet: the time for everything else."""
        work = self._work
        if work is None:
            return
        if time.monotonic() - self._asked > UNASKED_S:
            self.end("nobody has asked about it any more")
        elif work.reader.error is not None:
            self._finish(self._unreadable(work.reader.error))
        elif work.look is None or work.answer is not None:
            self._take(work)
            self._look_on(work)
        else:
            self._be_patient(work, "the backup does not answer")

    def _unreadable(self, error: OSError) -> VerifyImage:
        look = self._work.look if self._work else None
        disk = next(d for d in self._disks if look is None or d.vdev == look.vdev)
        return VerifyImage(vdev=disk.vdev, path=disk.path, detail=error.strerror or error)

    def _take(self, work: _Work) -> None:
        """Judge the look, if both sides could be read."""
        look, answer = work.look, work.answer
        if look is None or answer is None:
            return
        ours = digests(work.reader.octets(look), look.grain) if work.read else ()
        if ours and len(ours) == len(answer.digests):
            found = work.rules.judge(look, ours, answer.digests, time.monotonic())
            self._tell(look.vdev, found)
            work.reader.forget(look)
            work.look, work.failures = None, 0
        else:
            slow = "this host's image could not be read while the guest was suspended"
            self._be_patient(work, answer.problem or slow)

    def _look_on(self, work: _Work) -> None:
        """The next look, or the same one again if it did not count."""
        if self._work is not work:
            return
        work.epoch, work.answer, work.read = None, None, False
        if work.look is None:
            work.look = work.rules.next()
            if work.look is None:
                self._hopeless = work.rules.hopeless
                self._finish(None)
                return
        work.reader.prepare(work.look)

    def _be_patient(self, work: _Work, problem: str) -> None:
        look = work.look
        work.failures += 1
        if look is not None and work.failures >= PATIENCE:
            self._finish(
                VerifyStalled(
                    vdev=look.vdev, offset=look.offset, epochs=work.failures, detail=problem
                )
            )

    def _tell(self, vdev: str, found: Sequence[Range]) -> None:
        if found:
            self._bad.add(vdev)
        told = len(self._tallies[vdev].differing) - len(found)
        for place in found[: max(0, SHOWN - told)]:
            self._log(
                f"MISMATCH: {place.length} octets of {vdev} at {place.offset} differ on the backup;"
                " protect the guest again, with a full copy"
            )

    # --- its end

    def end(self, detail: str) -> None:
        """Look at nothing any more. Idempotent."""
        if self._work is not None:
            self._finish(VerifyEnded(detail=detail))

    def _finish(self, error: RemusError | None) -> None:
        work, self._work = self._work, None
        if work is not None:
            work.reader.end()
        self._error, self._ended = error, time.monotonic()
        bad = [vdev for vdev, tally in self._tallies.items() if tally.differing]
        if self._complete:
            self._bad = set(bad)
        result = f"they DIFFER: {', '.join(bad)}" if bad else "no mismatch was found"
        self._log(f"verifying the disks has ended{f' early ({error})' if error else ''}: {result}")

    # --- for people

    @property
    def _complete(self) -> bool:
        """Whether the last verification has come to a verdict everywhere."""
        settled = not any(tally.unsettled for tally in self._tallies.values())
        over = self._work is None and self._error is None
        return over and settled and not self._hopeless

    def asked(self) -> dict[str, Any]:
        """``status``, for whoever has begun it: the sign that somebody still wants to know."""
        self._asked = time.monotonic()
        return self.status()

    def status(self) -> dict[str, Any]:
        """The verification on its way, or the last one; {} where there was none. Octets."""
        if not self._began:
            return {}
        until = time.monotonic() if self._work is not None else self._ended
        done = sum(tally.done for tally in self._tallies.values())
        return {
            "running": self._work is not None,
            "complete": self._complete,
            "bad_disks": sorted(self._bad),
            "error": self._error.as_dict() if self._error else None,
            "octets": sum(tally.size for tally in self._tallies.values()),
            "done_octets": done,
            "octets_per_s": round(done / max(1e-3, until - self._began)),
            "disks": [_status(vdev, tally) for vdev, tally in self._tallies.items()],
        }


def _status(vdev: str, tally: Tally) -> dict[str, Any]:
    return {
        "vdev": vdev,
        "octets": tally.size,
        "compared_octets": tally.equal + tally.mismatched,
        "mismatched_octets": tally.mismatched,
        "unsettled_octets": tally.unsettled,
        "mismatches": [
            {"offset": place.offset, "length": place.length} for place in tally.differing[:SHOWN]
        ],
    }


def _open_all(disks: Sequence[SessionDisk]) -> dict[str, int]:
    """Every disk's image, opened for reading. Raises VerifyImage, VerifyFormat."""
    images: dict[str, int] = {}
    try:
        for disk in disks:
            images[disk.vdev] = _open(disk)
    except RemusError:
        for fd in images.values():
            os.close(fd)
        raise
    return images


def _open(disk: SessionDisk) -> int:
    if disk.format != qemuimg.RAW:
        raise VerifyFormat(vdev=disk.vdev, path=disk.path, format=disk.format)
    try:
        fd = os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise VerifyImage(vdev=disk.vdev, path=disk.path, detail=e.strerror or e) from e
    if size_of(fd) != disk.size:
        os.close(fd)
        raise VerifyImage(vdev=disk.vdev, path=disk.path, detail="its size has changed")
    return fd
