"""``remus-ha disk``: verify the disks of a protected guest, recover images of a backup."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.cmd import disk_verify
from remus_ha.disk.errors import DiskError
from remus_ha.disk.lineage import lineage_of
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store import recover
from remus_ha.disk.store.image import open_alone
from remus_ha.disk.store.launch import SETUP, Setup
from remus_ha.disk.store.state import FILE as STATE
from remus_ha.disk.store.state import progress_of


class NoJournal(DiskError):
    code = "DISK-018"
    cause = "{path} has no journal: it is no replica, or has been the guest's own image since"
    remedy = "Name the image as 'remus-ha status' of its backup named it."


class NotOneSet(DiskError):
    code = "DISK-185"
    cause = "these images are not those of one guest's last protection: {detail}"
    remedy = "Name all images of one guest together, and no other; nothing was changed."


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "disk", help="verify disks, recover images of a backup", description=__doc__
    )
    verbs = p.add_subparsers(metavar="VERB", required=True)
    disk_verify.add_verb(verbs)
    verb = verbs.add_parser(
        "recover",
        help="bring images up to the last committed epoch after their host lost its power",
        description="Name all images of one guest together, before it is started: an epoch that"
        " one of them has committed is committed on all. Only what was protected with '--disk-ack"
        " durable' is sure to be whole after a power cut.",
    )
    verb.add_argument("images", metavar="IMAGE", type=Path, nargs="+")
    verb.set_defaults(run=_recover)


def _recover(args: argparse.Namespace) -> int:
    setups = {image: _setup(image) for image in args.images}
    _check_set(setups)
    for setup in setups.values():
        os.close(open_alone(Path(setup.path)))
    commits = [progress_of(Path(s.directory) / STATE).committed for s in setups.values()]
    for image, setup in setups.items():
        process = recover.begin(Path(setup.directory) / SETUP, max(commits))
        print(f"{image}: epoch {recover.outcome(setup.disk, process)}")
    return 0


def _setup(image: Path) -> Setup:
    """What the image's store worked from. Raises NoJournal."""
    directory = journal_of(image.absolute())
    if rundir.read_json(directory / SETUP) is None or not (directory / STATE).exists():
        raise NoJournal(path=image)
    return Setup.load(directory / SETUP)


def _check_set(setups: Mapping[Path, Setup]) -> None:
    """Raises NotOneSet."""
    first, *others = setups
    for image in others:
        if _origin(image, setups[image]) != _origin(first, setups[first]):
            raise NotOneSet(detail=f"{first} and {image} were not protected together")
    missing = set(setups[first].images) - {setup.path for setup in setups.values()}
    if missing:
        raise NotOneSet(detail=f"{', '.join(sorted(missing))} is missing")


def _origin(image: Path, setup: Setup) -> str:
    """The session that wrote the journal; where that is not known, the guest."""
    lineage = lineage_of(image.absolute())
    return setup.session or (lineage.uuid if lineage else "")
