"""A host comes back from a power cut and starts its old copy of a guest that lives elsewhere."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from remus_ha.lab.host import Host
from remus_ha.lab.xlconfig import GuestSpec, render
from tests.lab.support.protection import Protection, refused
from tests.lab.support.stage import WITNESS, Guest, Stage
from tests.lab.support.wire import Wire

STATE = "/var/lib/remus-ha"
KEPT = "/srv/remus-ha"  # on the data disk, which a power cut leaves as it is then
FRAMES = 5
# Until the copy's card has this many frames that nobody has taken.
_SENDING = """
mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
ring=/sys/kernel/debug/xen-netback/{vif}/io_ring_q0
until awk '/^TX/ {{ tx = 1 }} tx && /^req prod/ {{ exit !($3 >= {frames}) }}' $ring
do sleep 0.2; done
cat $ring
"""


def _keep_state(host: Host) -> None:
    """A lab host is powered on with a fresh system disk: what is to survive is elsewhere."""
    host.shell.run(f"mkdir -p {KEPT} {STATE} && mount --bind {KEPT} {STATE}")


@contextmanager
def _started(host: Host, guest: Guest) -> Iterator[list[str]]:
    """The guest's configuration started there as ``xendomains`` does at boot; its vifs."""
    spec = GuestSpec(guest.name, vifs=guest.plan.vifs)
    config = f'{render(spec, guest.plan)}uuid = "{guest.uuid}"\n'
    host.shell.run("cat >/tmp/old.cfg && xl create -q /tmp/old.cfg", stdin=config.encode())
    domid = host.shell.text(f"xl domid {guest.name}").strip()
    try:
        yield [f"vif{domid}.{devid}" for devid in range(guest.plan.vifs)]
    finally:
        host.shell.run(f"xl destroy {guest.name}")


def test_a_returned_host_starts_its_old_copy_shut(stage: Stage) -> None:
    """Its record has been through the power cut; without it the old copy is a second emitter."""
    guest = stage.guest(fresh=True)
    macs = [guest.plan.mac(vif) for vif in range(guest.plan.vifs)]
    returned = stage.host(guest.host)
    returned.shell.run(f"rm -rf {KEPT}")
    _keep_state(returned)
    wire, c = guest.wire, guest.clients
    with Protection(stage, guest) as p:
        c.wait_answers()
        p.wait_checkpoints(3)
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        c.wait_answers()
        stage.lab.boot(p.primary)
        _keep_state(returned)
        seen = {mac: len(wire.frames(mac, p.primary)) for mac in macs}
        with _started(returned, guest) as vifs:
            for vif in vifs:
                print(returned.shell.text(_SENDING.format(vif=vif, frames=FRAMES), timeout_s=90))
                (link,) = json.loads(returned.shell.text(f"ip -j link show {vif}"))
                assert "UP" not in link["flags"], link
                assert "master" not in link, link
            c.wait_answers()
            # What the operator does: looks who has it, finds nothing to clean up, ends the copy.
            shown = json.loads(returned.shell.text(f"remus-ha witness show {WITNESS} {guest.uuid}"))
            assert shown["register"]["holder"][0] == p.backup
            claim = f"remus-ha witness claim {WITNESS} {guest.uuid}"
            assert "PROTECT-012" in refused(stage, p.primary, claim)
            assert "PROTECT-021" in refused(stage, p.primary, "remus-ha cleanup")
        c.wait_answers()
        assert {mac: len(wire.frames(mac, p.primary)) for mac in macs} == seen
        assert not guest.uuid_on(p.primary)
    stage.judge()
    stage.assert_clean()
    # The same without the record, so that it is known what it holds back.
    returned.shell.run(f"rm {STATE}/vif/*")
    with Wire(stage.lab) as alone, _started(returned, guest):
        alone.wait(lambda s: s.host == p.primary and s.frame.source == macs[0], 90.0, 0.0)
    stage.drop_guest()
    returned.shell.run(f"umount {STATE} && rm -rf {KEPT}")
