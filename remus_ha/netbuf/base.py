"""What every output buffer driver offers: the buffered-device hooks of an epoch.

A driver holds what a guest sends until the epoch in which it was sent is committed. It never
decides when: ``pass_through`` and ``teardown(release=True)`` let output out and are called only
by who may (the register says so), ``commit`` only on the acknowledgement of the epoch that the
last ``postsuspend`` closed.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from remus_ha.netbuf.modes import Mode


@dataclass(frozen=True, slots=True)
class VifRef:
    """One network device of a guest as dom0 sees it. ``mac`` is the guest's, in lower case."""

    name: str
    mac: str
    devid: int
    domid: int


@dataclass(frozen=True, slots=True)
class VifStats:
    """Fill of one vif's buffer.

    ``highest_bytes`` is the highest backlog seen just before a release or by a call of ``stats``;
    ``drops`` counts frames lost at the limit since the buffer was made.
    """

    vif: str
    backlog_bytes: int
    backlog_packets: int
    drops: int
    highest_bytes: int
    limit_bytes: int


class NetbufDriver(abc.ABC):
    """Output buffers of all vifs of one guest. Not thread-safe: one thread uses it at a time.

    Every call raises a NetbufError subclass on failure. A failed hook leaves the output held or
    as it was, never opened.
    """

    # What ``setup`` imports, where that takes long: it may be loaded before.
    imports: ClassVar[tuple[str, ...]] = ()

    @property
    @abc.abstractmethod
    def mode(self) -> Mode:
        """What the buffers are doing."""

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """What leaves at once although it should be held, in words; empty where nothing does."""
        return ()

    @abc.abstractmethod
    def setup(self, vifs: Sequence[VifRef], *, adopt: bool = False, held: bool = False) -> None:
        """Put a buffer behind every vif, all or none.

        They pass everything until the first ``postsuspend``; with ``held`` they hold from the
        start. With ``adopt`` buffers that an earlier process of ours left for the same guest are
        taken over, missing ones made, and all hold: nothing is let out that was not already. A vif
        that is gone is no error then (its domain may be), and is left out.
        """

    @abc.abstractmethod
    def postsuspend(self) -> None:
        """The guest is suspended: close the epoch. On return its frames are apart and held."""

    @abc.abstractmethod
    def preresume(self) -> None:
        """The guest is about to resume. Raises HookRefused unless the epoch is closed."""

    @abc.abstractmethod
    def commit(self) -> None:
        """Let the frames of the closed epoch out. It may be called once per ``postsuspend``."""

    @abc.abstractmethod
    def hold(self) -> None:
        """Make sure that new output is held; does nothing where that is known already."""

    @abc.abstractmethod
    def pass_through(self) -> None:
        """Let everything out and pass what comes."""

    @abc.abstractmethod
    def teardown(self, *, release: bool) -> None:
        """Remove the buffers.

        With ``release`` what they hold goes out first, in order. Without it is dropped. Either
        way the vifs are unbuffered afterwards. May be called again after a failure.
        """

    @abc.abstractmethod
    def stats(self) -> tuple[VifStats, ...]:
        """Fill and losses now, one entry per buffered vif in the order of ``setup``."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of the kernel without telling it anything: held output stays held."""
