"""A guest whose vifs have a hotplug script of their own: it is kept, on the backup as well."""

from collections.abc import Iterator

import pytest

from remus_ha.lab.xlconfig import GuestSpec
from tests.lab.support.protection import Protection
from tests.lab.support.stage import HOSTS, Guest, Stage

SCRIPT = "/etc/xen/scripts/vif-marking"
MARKS = "/run/vif-marking"
TEXT = f"""#!/bin/sh
echo "$1 $vif" >>{MARKS}
exec /etc/xen/scripts/vif-bridge "$@"
"""


@pytest.fixture
def marked(stage: Stage) -> Iterator[Guest]:
    """A new guest on host a whose vifs are brought up by that script; both hosts have it."""
    stage.drop_guest()
    for name in HOSTS:
        install = f"cat >{SCRIPT} && chmod +x {SCRIPT} && : >{MARKS}"
        stage.host(name).shell.run(install, stdin=TEXT.encode())
    yield stage.create(GuestSpec("marked", vifs=2, vif_script=SCRIPT), "a")
    stage.drop_guest()
    for name in HOSTS:
        if stage.host(name).running:
            stage.host(name).shell.run(f"rm -f {SCRIPT} {MARKS}")


def _brought_up(stage: Stage, guest: Guest, host: str) -> bool:
    """Whether the script was called there for each of the guest's vifs."""
    shell = stage.host(host).shell
    domid = shell.text(f"xl domid {guest.name}").strip()
    marks = shell.text(f"cat {MARKS}").splitlines()
    return all(marks.count(f"online vif{domid}.{vif}") == 1 for vif in range(guest.plan.vifs))


def test_a_guests_own_script_is_run_on_the_backup_as_well(stage: Stage, marked: Guest) -> None:
    """Once the copy has won; the outside then hears it over both vifs."""
    assert _brought_up(stage, marked, marked.host)
    with Protection(stage, marked) as p:
        p.wait_checkpoints(3)
        assert not stage.host(p.backup).shell.text(f"cat {MARKS}")
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        marked.clients.wait_answers()
        assert _brought_up(stage, marked, p.backup)
