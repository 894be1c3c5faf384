"""``remus-ha disk``: verify the disks of a protected guest, recover images of a backup."""

import argparse
from pathlib import Path
from typing import Any

from remus_ha import rundir
from remus_ha.cmd import disk_verify
from remus_ha.disk.errors import DiskError
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store import recover
from remus_ha.disk.store.launch import SETUP, Setup
from remus_ha.disk.store.state import progress_of


class NoJournal(DiskError):
    code = "DISK-018"
    cause = "{path} has no journal: it is no replica, or was never one of a protected guest"
    remedy = "Name the image as 'remus-ha status' of its backup named it."


def add_parser(commands: Any) -> None:
    p = commands.add_parser(
        "disk", help="verify disks, recover images of a backup", description=__doc__
    )
    verbs = p.add_subparsers(metavar="VERB", required=True)
    disk_verify.add_verb(verbs)
    verb = verbs.add_parser(
        "recover",
        help="bring images up to the last committed epoch after their host lost its power",
        description="Name all images of one guest together: an epoch that one of them has"
        " committed is committed on all. Only what was protected with '--disk-ack durable' is"
        " sure to be whole after a power cut.",
    )
    verb.add_argument("images", metavar="IMAGE", type=Path, nargs="+")
    verb.set_defaults(run=_recover)


def _recover(args: argparse.Namespace) -> int:
    setups = {image: _setup(image) for image in args.images}
    commits = [progress_of(Path(s.directory) / "state").committed for s in setups.values()]
    for image, setup in setups.items():
        process = recover.begin(Path(setup.directory) / SETUP, max(commits))
        print(f"{image}: epoch {recover.outcome(setup.disk, process)}")
    return 0


def _setup(image: Path) -> Setup:
    """What the image's store worked from. Raises NoJournal."""
    path = journal_of(image.absolute()) / SETUP
    if rundir.read_json(path) is None:
        raise NoJournal(path=image)
    return Setup.load(path)
