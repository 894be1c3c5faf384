"""Finish a dead store's work: ``python -m remus_ha.disk.store.recover SETUP N [patient]``.

Commits epoch ``N`` if it is not committed yet and has to be (-1: none), drops what is not
committed, applies the rest. ``patient``: whoever has the image is waited for without end, as long
as the process lives that started this one. One line of JSON says how it went. ``begin`` runs it in
the interpreter of the stores, which alone is sure to have what they need.
"""

import json
import subprocess
import sys
from pathlib import Path

from remus_ha.disk import plugin
from remus_ha.disk.ack import Ack
from remus_ha.disk.errors import DiskError, LineageUnwritable
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.images import open_again
from remus_ha.disk.store.launch import SETUP, Setup, StoreFailed
from remus_ha.disk.store.state import FILE as STATE
from remus_ha.exceptions import RemusError


class NotTakenUp(DiskError):
    code = "DISK-046"
    cause = "what the store of {disk} left could not be taken up: the process ended with {status}"
    remedy = "Look at the receiver's log on the backup; 'remus-ha disk recover' tries it again."


def begin(file: Path, commit: int, *, patient: bool = False) -> subprocess.Popen[bytes]:
    """Start it for the store whose setup lies in ``file``. Raises OSError."""
    command = ["python3", "-m", "remus_ha.disk.store.recover", str(file), str(commit)]
    command += ["patient"] if patient else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=plugin.environment())


def outcome(disk: str, process: subprocess.Popen[bytes]) -> int:
    """Wait for it: the epoch that the image holds. Raises StoreFailed, NotTakenUp."""
    line, _ = process.communicate()
    try:
        told = json.loads(line)
        if "failed" in told:
            raise StoreFailed(**told["failed"])
        return int(told["finished"])
    except (ValueError, KeyError, TypeError) as e:
        raise NotTakenUp(disk=disk, status=process.returncode) from e


def recover(setup: Setup, commit: int, *, patient: bool = False) -> int:
    """The epoch that the image holds then. Raises RemusError, OSError."""
    store = EpochStore(
        disk=setup.disk,
        image=open_again(setup, patient=patient),
        directory=Path(setup.directory),
        ack=Ack(setup.ack),
        anew=False,
    )
    try:
        if commit >= 0:
            store.commit(commit)
        return store.finish()
    finally:
        store.end()


def forget(image: Path) -> None:
    """What a dead store has left is not for what the image holds now.

    Whoever calls it has the image. Its lineage stays. Raises LineageUnwritable.
    """
    directory = journal_of(image)
    # The state goes first: without it nobody takes up the rest.
    try:
        for left in (directory / STATE, directory / SETUP, *directory.glob("epoch-*")):
            left.unlink(missing_ok=True)
    except OSError as e:
        raise LineageUnwritable(path=image, detail=e.strerror or e) from e


def main() -> int:
    setup, commit = Setup.load(Path(sys.argv[1])), int(sys.argv[2])
    patient = "patient" in sys.argv[3:]
    if patient:  # the next receiver tries anew, and must not be disturbed
        plugin.die_with_parent()
    try:
        print(json.dumps({"finished": recover(setup, commit, patient=patient)}))
    except RemusError as e:
        print(json.dumps({"failed": e.as_dict()}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
