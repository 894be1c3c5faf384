"""What ``remus-ha disk verify`` cannot compare is refused, and nothing is left open."""

import os
from pathlib import Path

import pytest

from remus_ha.checkpoint.session import SessionDisk
from remus_ha.checkpoint.verifying import VerifyFormat, Verifying

SIZE = 1 << 20


def test_a_qcow2_disk_is_no_raw_one(tmp_path: Path) -> None:
    raw = tmp_path / "web1.img"
    raw.write_bytes(bytes(SIZE))
    disks = [
        SessionDisk("xvda", str(raw), "xvda-raw", SIZE, 1),
        SessionDisk("xvdb", "/images/web1.qcow2", "xvdb-qcow2", SIZE, 2, format="qcow2"),
    ]
    verifying = Verifying("web1", disks, hash_there=lambda n, look: None, log=print)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(VerifyFormat, match="xvdb"):
        verifying.begin(0)
    assert os.listdir("/proc/self/fd") == before
