"""Which images of this host are which guest's disks: written down at every protection.

An image without such a record is somebody else's, and is never overwritten without a word.
"""

from pathlib import Path

from remus_ha import rundir


def remember(uuid: str, vdev: str, path: str) -> None:
    rundir.write_json(_file(uuid, vdev), {"path": path})


def is_known(uuid: str, vdev: str, path: str) -> bool:
    """Whether ``path`` has been this disk's image before."""
    record = rundir.read_json(_file(uuid, vdev))
    return isinstance(record, dict) and record.get("path") == path


def _file(uuid: str, vdev: str) -> Path:
    return rundir.STATE / "disks" / f"{uuid}-{vdev}.json"
