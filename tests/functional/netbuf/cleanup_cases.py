"""``remus-ha cleanup`` and ``witness claim`` on real devices that no session knows of.

Run by test_cleanup.py as ``python3 cleanup_cases.py CASE DIRECTORY``, in a network namespace of its
own with a bridge and veth pairs for vifs. Hypervisor and witness are stand-ins. Prints one JSON
object.
"""

import json
import re
import socket
import sys
import traceback
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from plug_cases import Bench, expect, sh

from remus_ha import rundir
from remus_ha.cmd import cleanup, witness
from remus_ha.core.register import Identity, Kind, Register
from remus_ha.hotplug import store
from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.xen.driver import Domain
from remus_ha.netbuf.precheck import vif_obstacles
from remus_ha.netbuf.sweep import find_leftovers
from remus_ha.witness.base import Reading, Swap

UUID = "5b6d2a0c-0000-4000-8000-00163e000007"
VIF, IFB = "vif7.0", "rh7.0"
OTHER = Identity("b", "theirs")


class Xen:
    """Domain 7, or no domain; in place of XenDriver and of its control."""

    def __init__(self, bench: Bench) -> None:
        self.life_of_7 = Life.SUSPENDED
        self.tracked = True
        vif = SimpleNamespace(name=VIF, mac=bench.vifs[0].mac, devid=0)
        self.guest = SimpleNamespace(name="web1", uuid=UUID, domid=7, vifs=(vif,))

    def __call__(self) -> "Xen":
        return self

    def domains(self) -> list[Domain]:
        gone = self.life_of_7 is Life.GONE
        return [] if gone else [Domain(7, "web1", UUID, self.life_of_7)]

    def find(self, name: str) -> Any:
        assert name == UUID
        return self.guest

    def control(self, domid: int, *, watch: bool = True) -> "Xen":
        assert domid == 7
        return self

    def life(self) -> Life:
        return self.life_of_7

    def stop_tracking(self) -> None:
        self.tracked = False

    def resume(self) -> bool:
        was, self.life_of_7 = self.life_of_7, Life.RUNNING
        return was is Life.SUSPENDED

    def close(self) -> None:
        pass


class Witness:
    """A register, and what was written down as opened."""

    def __init__(self, register: Register | None) -> None:
        self.register, self.opened = register, 0

    def read(self, uuid: str, _timeout_s: float) -> Reading:
        return Reading(self.register, self.opened, "life")

    def swap(self, _uuid: str, old: Register | None, new: Register, _timeout_s: float) -> Swap:
        if self.register != old:
            return Swap.REFUSED
        self.register = new
        return Swap.WON

    def record_opened(self, _uuid: str, generation: int, _timeout_s: float, won: object) -> None:
        assert self.register == won
        self.opened = generation

    def close(self) -> None:
        pass


class Host(Bench):
    """A set-up that died before its plug was there; its session is lost as well."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        rundir.ROOT, rundir.STATE, store.STATE_ROOT = root / "run", root / "var", root / "state"
        self.xen = Xen(self)
        cleanup.XenDriver = witness.XenDriver = self.xen
        self.me = Identity(socket.gethostname(), rundir.identity(UUID))
        sh(
            f"ip link add {IFB} type ifb && ip link set {IFB} up alias"
            f" 'remus-ha vif={VIF} guest={UUID} session=s0' && tc qdisc add dev {VIF} ingress"
        )

    def claim(self, register: Register | None) -> Witness:
        """As the remedy says."""
        there = Witness(register)
        witness.open_witness = lambda *_, **__: there
        witness._claim(Namespace(url="etcd://w", uuid=UUID, fenced=""))
        return there

    def cleaned(self) -> Exception:
        return expect(Exception, lambda: cleanup.run(Namespace(timeout=1.0)))

    def may_be_protected(self) -> bool:
        """As far as its vif is concerned; this kernel may lack the plug."""
        return not {"NETBUF-005", "NETBUF-010"} & {e.code for e in vif_obstacles([VIF])}


def nothing_is_touched(host: Host) -> None:
    """Whoever asks is told of both, the devices and the suspended guest, each with a way out."""
    before = sh("ip link; tc qdisc")
    assert not host.may_be_protected()
    error = host.cleaned()
    assert (error.code, IFB in str(error), UUID in str(error)) == ("PROTECT-017", True, True), error
    assert sh("ip link; tc qdisc") == before
    assert host.xen.life_of_7 is Life.SUSPENDED


def what_the_remedy_says_by_hand(host: Host) -> None:
    host.xen.life_of_7 = Life.RUNNING
    for command in re.sub(".*by hand: ", "", host.cleaned().advice).split("; "):
        sh(command)
    assert find_leftovers() == ()
    assert cleanup.run(Namespace(timeout=1.0)) == 0
    assert host.may_be_protected()


def a_claim_lets_the_guest_go_on(host: Host) -> None:
    """Held by this host, or in a pair of a session that is lost."""
    pair = Register(4, Kind.PAIR, host.me, OTHER)
    there = host.claim(pair)
    assert (there.register, there.opened) == (Register(5, Kind.HOLDER, host.me), 5)
    assert find_leftovers() == ()
    assert (host.xen.life_of_7, host.xen.tracked) == (Life.RUNNING, False)
    assert cleanup.run(Namespace(timeout=1.0)) == 0
    assert host.may_be_protected()
    host.expect_exactly([host.send(1)])


def no_claim_against_the_register(host: Host) -> None:
    """Another's, another's pair, or anything while a session is here: nothing changes."""
    before = sh("ip link; tc qdisc")
    for register in (
        Register(4, Kind.HOLDER, OTHER),
        Register(4, Kind.PAIR, OTHER, host.me),
        Register(4, Kind.HOLDER, Identity(host.me.host, "of a former boot")),
    ):
        expect(witness.NotHolder, lambda register=register: host.claim(register))
    rundir.write_json(rundir.directory("primary", UUID) / "session.json", {})
    for mine in (Register(4, Kind.PAIR, host.me, OTHER), Register(4, Kind.HOLDER, host.me)):
        expect(witness.SessionRuns, lambda register=mine: host.claim(register))
    assert sh("ip link; tc qdisc") == before
    assert host.xen.life_of_7 is Life.SUSPENDED


def after_the_guest_is_destroyed(host: Host) -> None:
    host.xen.life_of_7 = Life.GONE
    sh(f"ip link del {VIF}")
    assert cleanup.run(Namespace(timeout=1.0)) == 0
    assert find_leftovers() == ()


CASES = {
    case.__name__: case
    for case in (
        nothing_is_touched,
        what_the_remedy_says_by_hand,
        a_claim_lets_the_guest_go_on,
        no_claim_against_the_register,
        after_the_guest_is_destroyed,
    )
}


def main(name: str, root: str) -> int:
    said, sys.stdout = sys.stdout, sys.stderr  # what the commands print is not the result
    try:
        CASES[name](Host(Path(root)))
        ok, detail = True, ""
    except BaseException:
        ok, detail = False, traceback.format_exc()
    print(json.dumps({"ok": ok, "detail": detail}), file=said)
    return not ok


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
