"""The driver for ``-n``: output is not held at all. UNSAFE, for ``-F`` only."""

from collections.abc import Sequence

from remus_ha.netbuf.base import NetbufDriver, VifRef, VifStats
from remus_ha.netbuf.modes import Mode


class Unbuffered(NetbufDriver):
    """Every hook does nothing; ``mode`` says that output passes."""

    def __init__(self, *, guest: str = "", session: str = "") -> None:
        self.guest, self.session = guest, session

    @property
    def mode(self) -> Mode:
        return Mode.PASSING

    def setup(self, vifs: Sequence[VifRef], *, adopt: bool = False, held: bool = False) -> None:
        """Nothing to put behind any vif."""

    def postsuspend(self) -> None:
        """Output goes on leaving."""

    def preresume(self) -> None:
        """Nothing to wait for."""

    def commit(self) -> None:
        """Everything has left already."""

    def hold(self) -> None:
        """Cannot hold: that is what -n means."""

    def pass_through(self) -> None:
        """It passes anyway."""

    def teardown(self, *, release: bool) -> None:
        """Nothing to remove."""

    def stats(self) -> tuple[VifStats, ...]:
        return ()

    def close(self) -> None:
        """Nothing is held."""
