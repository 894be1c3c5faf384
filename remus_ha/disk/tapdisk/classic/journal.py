"""The journal beside a backup's image, and what a dead store has left there."""

from dataclasses import asdict
from pathlib import Path

from remus_ha import rundir
from remus_ha.disk.ack import Ack
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store.engine import LIMIT
from remus_ha.disk.store.launch import SETUP
from remus_ha.disk.store.launch import Setup as StoreSetup
from remus_ha.disk.store.recover import recover
from remus_ha.disk.store.state import FILE as STATE
from remus_ha.disk.store.state import progress_of
from remus_ha.disk.tapdisk.classic.setup import Commit
from remus_ha.disk.tapdisk.errors import EpochInDoubt

_ALONE = "at-close"  # a file: nobody but the daemon itself commits its epochs


def take_up(image: Path) -> None:
    """Bring a dead store's committed epochs into the image; what was open is dropped.

    Raises EpochInDoubt where a receiver may have committed more, StoreState, TargetInUse,
    StorePoisoned, OSError.
    """
    directory = journal_of(image)
    if not (directory / STATE).exists():
        return
    now = progress_of(directory / STATE)
    if now.prepared > now.committed and not (directory / _ALONE).exists():
        raise EpochInDoubt(path=image, n=now.prepared)
    if now.committed > now.applied:
        recover(_setup(image, 0, Ack.DURABLE, LIMIT), -1)


def begin(image: Path, size: int, commit: Commit, ack: Ack, limit: int) -> Path:
    """The directory of a new store, which ``remus-ha disk recover`` understands. Raises OSError."""
    directory = journal_of(image)
    rundir.write_json_durably(directory / SETUP, asdict(_setup(image, size, ack, limit)))
    if commit is Commit.AT_CLOSE:
        (directory / _ALONE).touch()
    else:
        (directory / _ALONE).unlink(missing_ok=True)
    return directory


def _setup(image: Path, size: int, ack: Ack, limit: int) -> StoreSetup:
    return StoreSetup(
        disk=str(image),
        path=str(image),
        size=size,
        known=True,
        directory=str(journal_of(image)),
        socket="",
        ack=ack.value,
        limit=limit,
    )
