"""No packet of an epoch leaves the primary before the backup has said that it holds it all."""

from typing import Any

import pytest

from remus_ha.lab.capture import Capture
from tests.lab.support.output_commit import Moment, OutputVerdict, Seen, judge
from tests.lab.support.protection import Protection, ask
from tests.lab.support.stage import Stage

EPOCHS = 60
KINDS = ("arp", "ipv4", "ipv6", "vlan")


def _samples(p: Protection, after: int) -> list[dict[str, Any]]:
    request = {"command": "samples", "after": after}
    return list(ask(p.stage.host(p.primary), "primary", p.guest.uuid, request))


def observe(p: Protection) -> OutputVerdict:
    """Both sides of every plug, and the host's uplink, for some epochs."""
    host, plan = p.stage.host(p.primary), p.guest.plan
    first = p.progress()
    domid, after = first["domid"], first["acked"]
    ours = " or ".join(f"ether src {plan.mac(vif)}" for vif in range(plan.vifs))
    vifs = [Capture(host, f"vif{domid}.{k}", direction="in") for k in range(plan.vifs)]
    with vifs[0], vifs[1], Capture(host, "eth0", direction="out", expression=ours) as uplink:
        p.wait_checkpoints(EPOCHS)
        samples = _samples(p, after)
    came = [seen for vif in vifs for seen in _seen(vif)]
    epochs = [Moment(s["n"], s["resumed"], s["acked"]) for s in samples if s["acked"]]
    assert len(epochs) >= EPOCHS - 5
    return judge(came, _seen(uplink), epochs)


def _seen(capture: Capture) -> list[Seen]:
    return [Seen(capture.to_monotonic(frame), frame) for frame in capture.frames()]


@pytest.mark.gate
def test_nothing_leaves_before_its_acknowledgement(stage: Stage) -> None:
    """IPv4, IPv6, ARP and VLAN-tagged frames are all held until ACK of their epoch."""
    guest = stage.guest()
    with Protection(stage, guest) as p:
        guest.clients.wait_answers()
        verdict = observe(p)
        assert not verdict.early
        assert all(verdict.judged.get(kind, 0) >= 50 for kind in KINDS), verdict.judged
        assert verdict.unknown <= sum(verdict.judged.values()) / 50, verdict
        p.unprotect()


def test_the_same_check_finds_unbuffered_output(stage: Stage) -> None:
    """With ``-F -n`` frames of every kind leave early, and the check says so."""
    guest = stage.guest()
    with Protection(stage, guest, "-F", "-n") as p:
        guest.clients.wait_answers()
        verdict = observe(p)
        assert {early.kind for early in verdict.early} >= set(KINDS)
        assert len(verdict.early) > sum(verdict.judged.values()) / 2
        p.unprotect()
