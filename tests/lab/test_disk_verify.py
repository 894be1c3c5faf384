"""``remus-ha disk verify`` while the guest writes: no false alarm, and no false comfort."""

import json
from typing import Any

import pytest

from tests.lab.support.protection import Protection
from tests.lab.support.stage import Stage
from tests.lab.test_disks import DISKS, DRIVERS, judged, writing

# The place of the last saved record: nobody writes there.
PLACE = (1 << 20) - 512
VERIFY_S = 400.0


def verify(stage: Stage, p: Protection) -> tuple[int, dict[str, Any]]:
    """Its exit status and what it found."""
    words = ["remus-ha", "disk", "verify", "--json", "--rate", "16384", p.guest.name]
    done = stage.host(p.primary).shell.run(words, check=False, timeout_s=VERIFY_S)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_octet_that_differs_is_found_while_the_guest_writes(stage: Stage, driver: str) -> None:
    guest = stage.guest(disks=DISKS)
    disks = writing(stage, guest)
    with Protection(stage, guest, "--disk-driver", driver) as p:
        p.wait_checkpoints(3)
        status, found = verify(stage, p)
        assert status == 0, found
        image = f"/srv/guests/{guest.name}-xvda.img"
        stage.host(p.backup).shell.run(
            f"printf x | dd of={image} bs=1 seek={PLACE} conv=notrunc status=none"
        )
        status, found = verify(stage, p)
        assert status == 1, found
        [wrong] = [disk for disk in found["disks"] if disk["mismatches"]]
        assert wrong["vdev"] == "xvda"
        p.log_primary.wait("they DIFFER: xvda")
        p.unprotect()
    assert judged(disks).clean
    # What differs on purpose is not handed on to the next story.
    stage.drop_guest()
