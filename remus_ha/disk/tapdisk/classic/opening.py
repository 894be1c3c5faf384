"""From a disk's name to the role that this host has in it, with everything that the role needs."""

import errno
import time
from collections.abc import Callable
from pathlib import Path

from remus_ha.disk.ack import Ack
from remus_ha.disk.errors import TargetInUse, TargetReadOnly
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.image import Image
from remus_ha.disk.store.recover import forget
from remus_ha.disk.store.users import user_of
from remus_ha.disk.tapdisk.classic import journal
from remus_ha.disk.tapdisk.classic.apart import Apart, Taken, is_the_guests
from remus_ha.disk.tapdisk.classic.backup import Backup
from remus_ha.disk.tapdisk.classic.disk import Disk
from remus_ha.disk.tapdisk.classic.primary import Primary
from remus_ha.disk.tapdisk.classic.reception import Reception
from remus_ha.disk.tapdisk.classic.setup import Commit, Setup
from remus_ha.disk.tapdisk.classic.unprotected import Unprotected
from remus_ha.disk.tapdisk.errors import ImageInUse, ImageUnusable, PeerUnreachable
from remus_ha.disk.tapdisk.fifo import TapdiskFifos
from remus_ha.disk.tapdisk.peer import PrimaryPeer, connect
from remus_ha.disk.tapdisk.uri import RemusDisk, claim, parse, resolve
from remus_ha.disk.tapdisk.wire import SECTOR

_LOOK_S = 10.0  # for a backup that is being started
_AGAIN_S = 0.2  # between two looks for a backup
_REFUSAL_S = 0.5  # a backup that has its primary says so by a reset, if not at once

Log = Callable[[str], None]


def open_disk(setup: Setup, log: Log) -> Disk:
    """Raises TapdiskError, DiskError; nothing of the image was changed then.

    (But for committed epochs of a dead store, which get into it before anything else, unless a
    record says that they are there, or the operator that the image is the other host's.)
    """
    named = parse(setup.uri)
    address, path = resolve(named), Path(named.path)
    is_older = setup.in_sync or is_the_guests(path)  # the journal than the image
    image = _open_image(named, take_up=not is_older)
    apart, taken = Apart(path), Taken(path)
    if is_older:
        forget(path)
    if setup.in_sync:
        taken.clear()
        apart.clear()  # last: until all of it is forgotten nobody is paired with this image
    fifos = TapdiskFifos(named.address, Path(setup.directory))
    if apart or taken:
        what = "has writes that the other host's image may lack" if apart else "is a guest's own"
        reason = (
            f"{path} {what}. Make both the same, "
            "then start this disk with '--in-sync' on both hosts."
        )
        return Unprotected(image, fifos, reason, log)
    listener = claim(address)
    commit = Commit(setup.commit)
    if listener is None:
        peer = _connect(address)
        says_last = commit is Commit.AT_CLOSE
        return Primary(
            image=image, fifos=fifos, peer=peer, apart=apart, says_last=says_last, log=log
        )
    ack = Ack(setup.ack)
    directory = journal.begin(path, image.size, commit, ack, setup.limit)
    store = EpochStore(disk=setup.uri, image=image, directory=directory, ack=ack, limit=setup.limit)
    reception = Reception(setup.uri, listener, store, fifos, limit=setup.limit)
    return Backup(
        image=image,
        store=store,
        reception=reception,
        commit=commit,
        apart=apart,
        taken=taken,
        log=log,
    )


def _open_image(named: RemusDisk, *, take_up: bool) -> Image:
    """For this process alone; ``take_up``: with what a dead store has left.

    Raises ImageInUse, ImageUnusable, and what ``take_up`` raises.
    """
    path, facts = Path(named.path), {"path": named.path, "disk": str(named)}
    try:
        user = user_of(path)
        if user:
            raise ImageInUse(path=path, by=user)
        if take_up:
            journal.take_up(path)
        image = Image.open(path)
    except TargetInUse as e:
        raise ImageInUse(path=path, by=e.facts["by"]) from e
    except TargetReadOnly as e:
        raise ImageUnusable(**facts, detail=e.facts["detail"]) from e
    except OSError as e:
        raise ImageUnusable(**facts, detail=e.strerror or e) from e
    if not image.size or image.size % SECTOR:
        image.close()
        detail = f"{image.size} octets are not whole sectors of {SECTOR}"
        raise ImageUnusable(**facts, detail=detail)
    return image


def _connect(address: tuple[str, int]) -> PrimaryPeer:
    """Before the guest's first write, which would have to wait for it. Raises PeerUnreachable."""
    until = time.monotonic() + _LOOK_S
    while True:
        try:
            peer = connect(address, max(1.0, until - time.monotonic()))
            break
        except PeerUnreachable as e:
            cause = e.__cause__
            refused = isinstance(cause, OSError) and cause.errno == errno.ECONNREFUSED
            if not refused or time.monotonic() >= until:
                raise
        time.sleep(_AGAIN_S)
    peer.serve(_REFUSAL_S)
    if peer.error is not None:
        peer.close()
        raise PeerUnreachable(address=f"{address[0]} port {address[1]}", detail=peer.error)
    return peer
