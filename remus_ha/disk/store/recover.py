"""Finish a dead store's work: ``python -m remus_ha.disk.store.recover SETUP N``.

Commits epoch ``N`` if it is not committed yet and has to be (-1: none), drops what is not
committed, applies the rest. One line of JSON says how it went.
"""

import json
import sys
from pathlib import Path

from remus_ha.disk.store.engine import Ack, EpochStore
from remus_ha.disk.store.image import Image
from remus_ha.disk.store.launch import Setup
from remus_ha.exceptions import RemusError


def recover(setup: Setup, commit: int) -> int:
    """The epoch that the image holds then. Raises RemusError, OSError."""
    store = EpochStore(
        disk=setup.disk,
        image=Image.open(Path(setup.path)),
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


def main() -> int:
    setup, commit = Setup.load(Path(sys.argv[1])), int(sys.argv[2])
    try:
        print(json.dumps({"finished": recover(setup, commit)}))
    except RemusError as e:
        print(json.dumps({"failed": e.as_dict()}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
