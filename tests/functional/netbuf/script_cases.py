"""Cases for buffers that an operator's script sets up, on real devices; xenstore is one of files.

A plain script as ``plug_cases.py``, beside which it lies, and for the same reason:

    python3 script_cases.py SAMPLE [CASE...]

SAMPLE is the sample of a script, ``etc/netbuf/remus-ha-netbuf``. What is refused needs no sch_plug.
"""

import os
import signal
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import plug_cases
from played_xenstore import Files
from plug_cases import MARK, VIFS, Bench, driver, expect, picture, sh

from remus_ha.hypervisor.xen.xenstore import Xenstore
from remus_ha.netbuf import scripted
from remus_ha.netbuf.errors import (
    ForeignIngress,
    LeftoverInTheWay,
    RedirectsTooLittle,
    ScriptFailed,
    ScriptHung,
    ScriptIfbUnusable,
    ScriptNamesNoIfb,
)
from remus_ha.netbuf.modes import Mode
from remus_ha.netbuf.plug import LOWEST_LIMIT_BYTES, PlugDriver
from remus_ha.netbuf.sweep import find_leftovers, remove

SAMPLE = Path(sys.argv[1])
IPV4 = "protocol ip u32 match u32 0 0"
EVERY_U32 = "protocol all u32 match u32 0 0"
EVERY = "protocol all matchall"
# In the manner of Xen's own script: a fixed ifb, its name first, the plug last.
XENS = """#!/bin/sh
PATH={bin}:$PATH
ifb=${{REMUS_IFB:-ifb${{XENBUS_PATH##*/}}}}
say() {{ xenstore-write "$XENBUS_PATH/ifb" ${{1:-$ifb}} "$XENBUS_PATH/hotplug-status" connected; }}
up() {{ ip link set dev $ifb up; }}
redirect() {{
    tc qdisc add dev "$vifname" ingress && tc filter add dev "$vifname" parent ffff: $1 \\
        action mirred egress redirect dev $ifb
}}
plug() {{ tc qdisc add dev $ifb root plug limit ${{1:-1000000}}; }}
case $1 in
setup)
    {setup}
    ;;
teardown)
    {teardown}
    [ -z "$REMUS_IFB" ] || {{
        ip link set dev $ifb down
        tc qdisc del dev $ifb root
        xenstore-rm -t "$XENBUS_PATH/ifb"
    }}
    tc qdisc del dev "$vifname" ingress
    xenstore-rm -t "$XENBUS_PATH"
    ;;
esac 2>/dev/null
"""


class Host(Bench):
    """A bench with ifbs that are always there, as an operator makes them, and a xenstore."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="script-cases-"))
        self.store = Files(self.root)
        Xenstore.open = self.store.open  # type: ignore[method-assign, assignment]
        os.environ["PATH"] = f"{self.store.bin}:{os.environ['PATH']}"
        for n in range(VIFS):
            sh(f"ip link add ifb{n} type ifb")

    def xens(self, setup: str, teardown: str = "") -> str:
        """The path of a script in the manner of Xen's."""
        path = self.root / "netbuf"
        path.write_text(XENS.format(bin=self.store.bin, setup=setup, teardown=teardown))
        path.chmod(0o755)
        return str(path)

    def expect_nothing_left(self) -> None:
        assert "ingress" not in sh("tc qdisc show"), sh("tc qdisc show")
        assert "clsact" not in sh("tc qdisc show"), sh("tc qdisc show")
        assert "plug" not in sh("tc qdisc show"), sh("tc qdisc show")
        assert "remus-ha" not in sh("ip link show"), sh("ip link show")
        assert "nb7." not in sh("ip link show"), sh("ip link show")
        assert self.store.nodes() == [], self.store.nodes()
        assert find_leftovers() == ()


def by(script: str | Path, **more: object) -> PlugDriver:
    return driver(script=str(script), **more)


def sample_holds_every_kind(host: Host) -> dict[str, object]:
    """Exactly per epoch, as with our own buffers, and nothing is lost at the end."""
    d = by(SAMPLE)
    d.setup(host.vifs)
    assert "nb7.3" in sh("ip link show")
    host.expect_exactly(host.send_all(0))
    d.postsuspend()
    d.preresume()
    first = host.send_all(1)
    host.expect_silence()
    d.commit()
    for epoch in range(2, 5):
        d.postsuspend()
        d.preresume()
        second = host.send_all(epoch)
        host.expect_silence()
        d.commit()
        host.expect_exactly(first)
        first = second
    fills = d.stats()
    assert [f.backlog_packets for f in fills] == [len(first) // VIFS] * VIFS, fills
    d.teardown(release=True)
    host.expect_exactly(first)
    host.expect_exactly(host.send_all(5))
    host.expect_nothing_left()
    return {}


def fixed_ifbs(host: Host) -> dict[str, object]:
    """In the manner of Xen's script: the ifbs stay, nobody's again; the limit is ours."""
    script = host.xens(f"say && up && redirect '{EVERY}' && plug 1")
    for held in (False, True):
        d = by(script, limit_bytes=LOWEST_LIMIT_BYTES)
        d.setup(host.vifs, held=held)
        marks = host.send_all(1)
        if held:
            host.expect_silence()
        else:
            host.expect_exactly(marks)
        assert all(f.drops == 0 for f in d.stats()), d.stats()
        d.teardown(release=True)
        if held:
            host.expect_exactly(marks)
        host.expect_exactly(host.send_all(2))
        assert "ifb0" in sh("ip link show")
        host.expect_nothing_left()
    return {}


def taken_over(host: Host) -> dict[str, object]:
    """Killed with output held: found by alias, or by xenstore, and not a frame gets out."""
    for forget in ("ip link set dev nb7.0 alias ''", f"rm -r {host.store.root}/libxl"):
        child = os.fork()
        if child == 0:
            by(SAMPLE).setup(host.vifs, held=True)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        marks = host.send_all(1)
        host.expect_silence()
        expect(LeftoverInTheWay, lambda: by(SAMPLE, session="s2").setup(host.vifs))
        sh(forget)
        d = by(SAMPLE, session="s2")
        d.setup(host.vifs, adopt=True)
        assert d.mode is Mode.HELD
        marks += host.send_all(2)
        host.expect_silence()
        d.pass_through()
        host.expect_exactly(marks)
        d.teardown(release=True)
        host.expect_nothing_left()
    return {}


def swept(host: Host) -> dict[str, object]:
    """Left-overs are found with their script, and removed by it as asked."""
    d = by(SAMPLE)
    d.setup(host.vifs[:3], held=True)
    d.close()
    marks = [host.send(1, n) for n in range(3)]
    sh("ip link del vif7.2")
    found = {x.ifb: x for x in find_leftovers()}
    assert set(found) == {"nb7.0", "nb7.1", "nb7.2"}, found
    assert [x.vif for x in found.values()] == ["vif7.0", "vif7.1", None]
    assert all(x.plugged and x.domid == 7 for x in found.values())
    remove(found["nb7.0"], release=True)
    remove(found["nb7.1"], release=False)
    remove(found["nb7.2"], release=False)
    remove(found["nb7.2"], release=False)  # once more is no error
    host.expect_exactly(marks[:1])
    host.expect_exactly([host.send(2, n) for n in range(2)])
    host.expect_nothing_left()
    return {}


def swept_by_hand(host: Host) -> dict[str, object]:
    d = by(SAMPLE)
    d.setup(host.vifs[:1], held=True)
    d.close()
    (left,) = find_leftovers()
    for command in left.by_hand():
        sh(command)
    host.expect_nothing_left()
    return {}


def dropped(host: Host) -> dict[str, object]:
    """What is not to be released is not, though the script release it, fail or hang."""
    release = "tc qdisc change dev $ifb root plug release_indefinite; sleep 0.2"
    for last in (release, f"{release}; exit 1", "exit 1", "sleep 600"):
        scripted.TEARDOWN_S = 2.0
        d = by(host.xens(f"say && up && redirect '{EVERY}' && plug", last))
        d.setup(host.vifs[:1], held=True)
        host.send(1)
        d.teardown(release=False)
        host.expect_silence()
        host.expect_exactly([host.send(2)])
        host.store.rm("", "/libxl")
        host.expect_nothing_left()
    return {}


def a_script_that_leaves_all(host: Host) -> dict[str, object]:
    """What is held goes out all the same, and the vifs are unbuffered."""
    d = by(host.xens(f"say && up && redirect '{EVERY}' && plug", "exit 1"))
    d.setup(host.vifs, held=True)
    marks = host.send_all(1)
    d.teardown(release=True)
    host.expect_exactly(marks)
    host.expect_exactly(host.send_all(2))
    host.store.rm("", "/libxl")
    host.expect_nothing_left()
    return {}


def less_than_everything_by_force(host: Host) -> dict[str, object]:
    """With -F: what the script redirects is held, all else goes past and that is said."""
    script = host.xens(f"say && up && redirect '{IPV4}' && plug")
    d = by(script, partial=True)
    d.setup(host.vifs, held=True)
    assert len(d.weaknesses) == VIFS, d.weaknesses
    marks = host.send_all(1, rounds=1)
    host.expect_exactly([m for m in marks if m.split("/")[2] != "ipv4"])
    d.pass_through()
    host.expect_exactly([m for m in marks if m.split("/")[2] == "ipv4"])
    d.teardown(release=True)
    host.expect_nothing_left()
    return {}


def u32_lets_short_frames_past(host: Host) -> dict[str, object]:
    """Why u32 is not everything, and matchall is: a frame of three octets behind its header."""
    script = host.xens(f"say && up && redirect '{EVERY_U32}' && plug")
    d = by(script, partial=True)
    d.setup(host.vifs[:1], held=True)
    short(host)
    assert is_short(host), "it was held"
    d.teardown(release=True)
    host.drain()
    sampled = by(SAMPLE)
    sampled.setup(host.vifs[:1], held=True)
    short(host)
    assert not is_short(host), "it was not held"
    sampled.teardown(release=True)
    return {}


def short(host: Host) -> None:
    mac = bytes.fromhex(host.vifs[0].mac.replace(":", ""))
    host.guests[0].send(b"\xff" * 6 + mac + struct.pack("!H", 0x88B5) + MARK[:3])


def is_short(host: Host) -> bool:
    """Whether such a frame has come out."""
    while plug_cases.readable(host.outside, plug_cases.QUIET_S):
        if len(host.outside.recv(65536)) == 17:
            return True
    return False


REFUSED: list[tuple[str, type[Exception], str]] = [
    ("exit 1", ScriptFailed, "status 1"),
    ("xenstore-write $XENBUS_PATH/hotplug-error 'none is free'; exit 1", ScriptFailed, "none is"),
    (f"up && redirect '{IPV4}'", ScriptNamesNoIfb, "$XENBUS_PATH/ifb"),
    ("say absent0", ScriptIfbUnusable, "does not exist"),
    ("say br0", ScriptIfbUnusable, "is no ifb"),
    ("say && up", ScriptIfbUnusable, "gets none of its frames"),
    (
        "say && up && tc qdisc add dev $vifname clsact && tc filter add dev $vifname ingress"
        f" {IPV4} action mirred egress redirect dev $ifb",
        ScriptIfbUnusable,
        "by way of clsact",
    ),
    (f"say && up && redirect '{IPV4}'", RedirectsTooLittle, "only u32 for IPv4"),
    (f"say && up && redirect '{EVERY_U32}'", RedirectsTooLittle, "only u32 for any protocol"),
]


def refused(host: Host) -> dict[str, object]:
    """Whatever the script does wrong: a typed error, it takes that back, and frames pass."""
    for setup, error, told in REFUSED:
        script = host.xens(setup)
        e = expect(error, lambda s=script: by(s).setup(host.vifs[:1]))
        assert told in str(e), e
        assert "vif7.0" in str(e), e
        host.expect_nothing_left()
    host.expect_exactly(host.send_all(1))
    return {"cases": len(REFUSED)}


def shared(host: Host) -> dict[str, object]:
    """An ifb that has another vif's frames is refused, and the other vif keeps it."""
    redirect = "parent ffff: protocol ip u32 match u32 0 0 action mirred egress redirect dev ifb0"
    sh("ip link set ifb0 up; tc qdisc add dev vif7.3 ingress")
    sh(f"tc filter add dev vif7.3 {redirect}")
    before = picture()
    script = host.xens(f"ifb=ifb0; say && redirect '{IPV4}'")
    for partial in (False, True):
        e = expect(ScriptIfbUnusable, lambda p=partial: by(script, partial=p).setup(host.vifs[:1]))
        assert "has frames of vif7.3 already" in str(e), e
        assert picture() == before, picture()
    return {}


def another_root(host: Host) -> dict[str, object]:
    """An ifb that holds nothing is refused, however much is redirected to it."""
    for root in ("", "tc qdisc add dev $ifb root pfifo;"):
        script = host.xens(f"say && up && {root} redirect '{IPV4}'")
        e = expect(ScriptIfbUnusable, lambda s=script: by(s, partial=True).setup(host.vifs[:1]))
        assert "no plug" in str(e), e
        host.expect_nothing_left()
    return {}


def hanging(host: Host) -> dict[str, object]:
    """It is killed with its children, and what it had set up is taken back by it."""
    scripted.SETUP_S = 3.0
    script = host.xens(f"say && up && redirect '{IPV4}' && sleep 4321")
    expect(ScriptHung, lambda: by(script).setup(host.vifs[:1]))
    assert "4321" not in sh("ps -eo args | grep '[s]leep' || true")
    host.expect_nothing_left()
    return {}


def foreign(host: Host) -> dict[str, object]:
    """A vif whose ingress is another's is not handed to the script."""
    marker = host.root / "called"
    script = host.xens(f": >{marker}; exit 1")
    for kind in ("ingress", "clsact"):
        sh(f"tc qdisc add dev vif7.0 {kind}")
        before = picture()
        for adopt in (False, True):
            expect(ForeignIngress, lambda a=adopt: by(script).setup(host.vifs[:1], adopt=a))
        assert picture() == before
        assert not marker.exists()
        sh(f"tc qdisc del dev vif7.0 {kind}")
    return {}


CASES: dict[str, Callable[[Host], dict[str, object]]] = {
    case.__name__: case
    for case in (
        refused,
        shared,
        another_root,
        hanging,
        foreign,
        sample_holds_every_kind,
        fixed_ifbs,
        taken_over,
        swept,
        swept_by_hand,
        dropped,
        a_script_that_leaves_all,
        less_than_everything_by_force,
        u32_lets_short_frames_past,
    )
}


def main(names: list[str]) -> int:
    import pyroute2  # noqa: F401  once for all cases: it is slow to import

    return sum(not plug_cases.run(name, CASES, Host) for name in names or CASES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
