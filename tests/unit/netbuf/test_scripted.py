"""Ports of an operator's script, on a kernel and a xenstore of files; the scripts are run."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from remus_ha.hypervisor.xen.xenstore import Xenstore
from remus_ha.netbuf import plug, scripted, sweep
from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.errors import (
    ForeignIngress,
    LeftoverInTheWay,
    NetbufError,
    RedirectsTooLittle,
    ScriptFailed,
    ScriptHung,
    ScriptIfbUnusable,
    ScriptNamesNoIfb,
    VifVanished,
)
from remus_ha.netbuf.lease import Lease
from remus_ha.netbuf.messages import Action
from remus_ha.netbuf.modes import Mode
from remus_ha.netbuf.plug import DEFAULT_LIMIT_BYTES, PlugDriver
from remus_ha.netbuf.ports import Port
from remus_ha.netbuf.script import VifScript
from remus_ha.netbuf.scripted import ScriptBuilder
from tests.functional.netbuf.played_xenstore import Files
from tests.unit.netbuf.played_kernel import Kernel

VIFS = [VifRef(f"vif7.{n}", f"00:16:3e:00:00:0{n}", n, 7) for n in range(2)]
LIMIT = 1 << 20
NODES = [f"/libxl/7/remus/netbuf/{n}" for n in range(2)]
FRAME = """#!/bin/sh
PATH={bin}:$PATH
net={net}
ifb=buf${{XENBUS_PATH##*/}}
echo "$1 $vifname $XENBUS_PATH ${{REMUS_IFB-none}}" >>{calls}
make() {{ mkdir $net/$ifb && echo ifb >$net/$ifb/kind && echo plug >$net/$ifb/root; }}
redirect() {{ echo "${{1:-matchall 3}} $ifb" >>$net/$vifname/ingress; }}
name() {{ xenstore-write "$XENBUS_PATH/ifb" $ifb "$XENBUS_PATH/hotplug-status" connected; }}
case $1 in
setup)
{setup}
;;
teardown)
{teardown}
;;
esac
"""
SETUP = "make && name && redirect"
TEARDOWN = "rm -rf $net/$vifname/ingress $net/$ifb; xenstore-rm -t $XENBUS_PATH"
# As the script of Xen: the ifb is one of several that are always there.
KEEPS = """
[ -z "$REMUS_IFB" ] || rm -f $net/$REMUS_IFB/root $net/$REMUS_IFB/up
rm -f $net/$vifname/ingress; xenstore-rm -t $XENBUS_PATH/ifb
"""


class Bench:
    """Two vifs of a guest; ``script`` writes the operator's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel = Kernel(root / "net")
        self.store = Files(root)
        for vif in VIFS:
            self.kernel.add(vif.name, "veth")
        self.path = root / "netbuf"
        self.script()

    def script(self, setup: str = SETUP, teardown: str = TEARDOWN) -> str:
        text = FRAME.format(
            bin=self.store.bin,
            net=self.kernel.root,
            calls=self.root / "calls",
            setup=setup,
            teardown=teardown,
        )
        self.path.write_text(text)
        self.path.chmod(0o755)
        return str(self.path)

    def calls(self) -> list[str]:
        """What the script was called with, so far."""
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def build(
        self,
        *vifs: VifRef,
        adopt: bool = False,
        partial: bool = False,
        guest: str = "uuid-a",
        session: str = "s1",
    ) -> list[Port]:
        """Ports for the vifs, all or none; ``weaknesses`` are kept."""
        with contextlib.ExitStack() as undo:
            path = str(self.path)
            kernel: Any = self.kernel
            builder = ScriptBuilder(kernel, kernel, undo, path, partial=partial)
            found = []
            for vif in vifs or VIFS:
                lease = Lease(vif.name, guest, session)
                found.append(builder.find_or_make(vif, lease, LIMIT, adopt=adopt))
            undo.pop_all()
        self.weaknesses = builder.weaknesses
        return [port for port in found if port is not None]

    def dismantle(self, ports: list[Port], *, release: bool) -> None:
        kernel: Any = self.kernel
        scripted.dismantle(kernel, kernel, ports, release=release)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    monkeypatch.setattr(Xenstore, "open", made.store.open)
    monkeypatch.setattr(scripted, "SETUP_S", 20.0)
    for module in (sweep, plug):
        monkeypatch.setattr(module, "Devices", lambda: made.kernel)
        monkeypatch.setattr(module, "Channel", lambda: made.kernel)
    return made


@contextlib.contextmanager
def untouched(bench: Bench) -> Iterator[None]:
    before = bench.kernel.picture()
    yield
    assert bench.kernel.picture() == before


def test_each_vif_has_the_port_that_the_script_has_made(bench: Bench) -> None:
    ports = bench.build()
    assert [(p.source and p.source.name, p.ifb.name) for p in ports] == [
        ("vif7.0", "buf0"),
        ("vif7.1", "buf1"),
    ]
    assert bench.calls() == [f"setup vif7.{n} {NODES[n]} none" for n in range(2)]
    for n, port in enumerate(ports):
        link = bench.kernel.find(port.ifb.name)
        assert link is not None
        assert Lease.parse(link.alias) == Lease(
            f"vif7.{n}", "uuid-a", "s1", VifScript(str(bench.path), f"vif7.{n}", 7, n)
        )
        assert (bench.kernel.root / port.ifb.name / "up").exists()
        assert bench.kernel.told[port.ifb.name] == [(Action.LIMIT, LIMIT)]
    assert bench.weaknesses == []


BAD = [
    ("exit 3", ScriptFailed, "status 3"),
    ("make && name && redirect; echo no luck >&2; exit 1", ScriptFailed, "no luck"),
    (
        "name; xenstore-write $XENBUS_PATH/hotplug-error 'none is free'",
        ScriptFailed,
        "none is free",
    ),
    ("xenstore-write $XENBUS_PATH/hotplug-error 'none is free'; exit 1", ScriptFailed, "none is"),
    ("make && redirect", ScriptNamesNoIfb, "without"),
    ("name", ScriptIfbUnusable, "does not exist"),
    ("make && echo dummy >$net/$ifb/kind && name && redirect", ScriptIfbUnusable, "is no ifb"),
    ("make && echo fq_codel >$net/$ifb/root && name && redirect", ScriptIfbUnusable, "fq_codel"),
    ("make && rm $net/$ifb/root && name && redirect", ScriptIfbUnusable, "nothing as its root"),
    ("make && name", ScriptIfbUnusable, "gets none of its frames"),
    ("make && name && : >$net/$vifname/ingress", ScriptIfbUnusable, "gets none of its frames"),
    ("make && name && redirect 'u32 0x0800'", RedirectsTooLittle, "only u32 for IPv4"),
    ("make && name && redirect 'u32 3'", RedirectsTooLittle, "only u32 for any protocol"),
    (
        "make && name && redirect 'u32 0x0800' && redirect 'u32 0x0806'",
        RedirectsTooLittle,
        "only u32 for IPv4, u32 for ARP",
    ),
    (
        "make && name && echo 'u32 0x0806 nowhere' >$net/$vifname/ingress && redirect",
        RedirectsTooLittle,
        "(u32 for ARP) takes frames elsewhere",
    ),
]


@pytest.mark.parametrize(("setup", "error", "told"), BAD, ids=[bad[0] for bad in BAD])
def test_what_cannot_be_used_is_refused_and_taken_back(
    bench: Bench, setup: str, error: type[NetbufError], told: str
) -> None:
    """The second vif's; the first one's buffer, which is good, goes as well."""
    bench.script(f"if [ $vifname = vif7.1 ]; then {setup}; else {SETUP}; fi")
    with untouched(bench), pytest.raises(error) as refused:
        bench.build()
    assert told in str(refused.value)
    assert "vif7.1" in str(refused.value)
    assert refused.value.advice
    calls = bench.calls()
    assert [call.split()[:2] for call in calls[2:]] == [
        ["teardown", "vif7.1"],
        ["teardown", "vif7.0"],
    ]
    named = "name" in setup
    assert calls[2:] == [
        f"teardown vif7.1 {NODES[1]} {'buf1' if named else 'none'}",
        f"teardown vif7.0 {NODES[0]} buf0",
    ]
    assert bench.store.nodes() == []


def test_a_script_that_hangs_is_killed_with_its_children_and_taken_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripted, "SETUP_S", 5.0)
    alive = bench.root / "alive"
    bench.script(f"{SETUP}; (exec 9>{alive}; flock 9; sleep 600)")
    with untouched(bench), pytest.raises(ScriptHung):
        bench.build()
    assert bench.calls()[-1] == f"teardown vif7.0 {NODES[0]} buf0"
    with alive.open() as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its holder is dead


@pytest.mark.parametrize("teardown", ["exit 1", "sleep 600", "true"])
def test_what_the_script_does_not_take_back_is_taken_back_all_the_same(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, teardown: str
) -> None:
    monkeypatch.setattr(scripted, "TEARDOWN_S", 0.5)
    bench.script(f"{SETUP}; exit 1", teardown)
    with pytest.raises(ScriptFailed):
        bench.build()
    assert bench.kernel.picture() == {
        "vif7.0/kind": "veth",
        "vif7.1/kind": "veth",
        "buf0/kind": "ifb\n",
    }


def test_less_than_everything_is_taken_where_that_is_wanted(bench: Bench) -> None:
    bench.script("make && name && redirect 'u32 0x0800'")
    ports = bench.build(partial=True)
    assert [port.ifb.name for port in ports] == ["buf0", "buf1"]
    assert [w[:10] for w in bench.weaknesses] == ["NETBUF-018"] * 2
    assert "only u32 for IPv4" in bench.weaknesses[0]


def test_filters_that_together_leave_nothing_are_no_weakness(bench: Bench) -> None:
    bench.script("make && name && redirect 'u32 0x0800' && redirect 'matchall 3'")
    bench.build()
    assert bench.weaknesses == []


def test_nothing_at_all_is_not_wanted_even_then(bench: Bench) -> None:
    bench.script("make && name")
    with pytest.raises(ScriptIfbUnusable):
        bench.build(partial=True)


def test_an_ingress_of_another_kind_is_refused(bench: Bench) -> None:
    """And goes, though its script does not take it back."""
    bench.script("make && name && redirect && mv $net/$vifname/ingress $net/$vifname/clsact")
    with untouched(bench), pytest.raises(ScriptIfbUnusable, match="by way of clsact"):
        bench.build()


def test_one_ifb_for_two_vifs_is_refused(bench: Bench) -> None:
    bench.script(f"ifb=buf0; [ -e $net/$ifb ] || make; {SETUP.replace('make && ', '')}")
    with untouched(bench), pytest.raises(ScriptIfbUnusable, match=r"has frames of vif7\.0 already"):
        bench.build()
    assert f"teardown vif7.1 {NODES[1]} none" in bench.calls()


def test_an_ifb_of_another_guest_is_refused_and_left_alone(bench: Bench) -> None:
    """The script is not told to take it down either."""
    bench.kernel.add("theirs", "ifb", root="plug", alias="of somebody")
    bench.kernel.add("vif3.0", "veth", ingress="matchall 3 theirs\n")
    bench.script("ifb=theirs; name; redirect", KEEPS)
    with untouched(bench), pytest.raises(ScriptIfbUnusable, match=r"frames of vif3\.0"):
        bench.build()
    assert bench.calls()[1:] == [f"teardown vif7.0 {NODES[0]} none"]


@pytest.mark.parametrize("kind", ["ingress", "clsact"])
@pytest.mark.parametrize("adopt", [False, True])
def test_a_vif_whose_ingress_is_anothers_is_not_handed_to_the_script(
    bench: Bench, kind: str, adopt: bool
) -> None:
    (bench.kernel.root / "vif7.0" / kind).write_text("u32 0x0800 nowhere\n")
    if adopt:
        bench.store.write(f"{NODES[0]}/ifb", "buf0")  # of a set-up that died at once
    with untouched(bench), pytest.raises(ForeignIngress):
        bench.build(adopt=adopt)
    assert bench.calls() == []


def test_what_a_session_of_ours_has_left_is_named(bench: Bench) -> None:
    bench.build()
    bench.calls()
    with untouched(bench), pytest.raises(LeftoverInTheWay) as refused:
        bench.build(guest="uuid-b", adopt=True)
    with pytest.raises(LeftoverInTheWay):
        bench.build(session="s2")
    assert "session s1 of guest uuid-a" in str(refused.value)
    assert bench.calls() == []


def test_a_vif_that_is_gone(bench: Bench) -> None:
    (bench.kernel.root / "vif7.1" / "kind").unlink()
    (bench.kernel.root / "vif7.1").rmdir()
    with untouched(bench), pytest.raises(VifVanished):
        bench.build()
    assert [p.ifb.name for p in bench.build(adopt=True)] == ["buf0"]


def test_a_stale_answer_is_none(bench: Bench) -> None:
    """Another's of an earlier time: the script takes it back, and names its own."""
    bench.store.write(f"{NODES[0]}/ifb", "old0")
    bench.store.write(f"{NODES[0]}/hotplug-error", "none is free")
    bench.build(VIFS[0])
    assert bench.calls() == [
        f"teardown vif7.0 {NODES[0]} old0",
        f"setup vif7.0 {NODES[0]} none",
    ]


def test_a_stale_name_that_is_anothers_by_now_is_not_taken_back(bench: Bench) -> None:
    bench.kernel.add("theirs", "ifb", root="plug")
    bench.kernel.add("vif3.0", "veth", ingress="matchall 3 theirs\n")
    bench.store.write(f"{NODES[0]}/ifb", "theirs")
    bench.build(VIFS[0])
    assert bench.calls() == [f"setup vif7.0 {NODES[0]} none"]


def test_a_later_process_takes_over_by_alias(bench: Bench) -> None:
    """Without a word to the script, and with the domain's nodes gone from xenstore."""
    bench.build()
    bench.store.rm("", "/libxl/7")
    bench.calls()
    ports = bench.build(adopt=True, session="s2")
    assert [(p.source and p.source.name, p.ifb.name) for p in ports] == [
        ("vif7.0", "buf0"),
        ("vif7.1", "buf1"),
    ]
    assert bench.calls() == []
    assert "session=s2" in (bench.kernel.root / "buf0" / "alias").read_text()


def test_a_later_process_takes_over_by_xenstore(bench: Bench) -> None:
    """What the process before has died on before it wrote the alias."""
    bench.build()
    (bench.kernel.root / "buf0" / "alias").unlink()
    bench.calls()
    assert [p.ifb.name for p in bench.build(adopt=True)] == ["buf0", "buf1"]
    assert bench.calls() == []


def test_the_ifb_of_a_vif_that_is_gone_is_taken_over(bench: Bench) -> None:
    bench.build(VIFS[0])
    for file in (bench.kernel.root / "vif7.0").iterdir():
        file.unlink()
    (bench.kernel.root / "vif7.0").rmdir()
    (port,) = bench.build(VIFS[0], adopt=True)
    assert (port.source, port.ifb.name) == (None, "buf0")


@pytest.mark.parametrize("missing", ["buf0/root", "vif7.0/ingress"])
def test_what_is_half_made_is_made_anew(bench: Bench, missing: str) -> None:
    bench.build(VIFS[0])
    (bench.kernel.root / missing).unlink()
    bench.calls()
    (port,) = bench.build(VIFS[0], adopt=True)
    assert port.ifb.name == "buf0"
    assert [call.split()[0] for call in bench.calls()] == ["teardown", "setup"]


def test_a_take_over_that_fails_leaves_what_was_there(bench: Bench) -> None:
    bench.build(VIFS[0])
    bench.script("exit 1")
    bench.calls()
    with untouched(bench), pytest.raises(ScriptFailed):
        bench.build(adopt=True)
    assert [call.split()[:2] for call in bench.calls()] == [
        ["setup", "vif7.1"],
        ["teardown", "vif7.1"],
    ]


def test_the_script_takes_down_what_it_has_made(bench: Bench) -> None:
    with untouched(bench):
        ports = bench.build()
        bench.calls()
        bench.dismantle(ports, release=True)
    assert bench.calls() == [f"teardown vif7.{n} {NODES[n]} buf{n}" for n in range(2)]
    bench.dismantle(ports, release=True)  # once more is no error


@pytest.mark.parametrize("release", [False, True])
def test_an_ifb_that_the_script_keeps_is_nobodys_again(bench: Bench, release: bool) -> None:
    bench.kernel.add("buf0", "ifb")
    bench.script(SETUP.replace("make", "echo plug >$net/$ifb/root"), KEEPS)
    with untouched(bench):
        ports = bench.build(VIFS[0])
        bench.dismantle(ports, release=release)


@pytest.mark.parametrize("release", [False, True])
@pytest.mark.parametrize("teardown", ["exit 1", "sleep 600", "rm -rf $net/$ifb", "gone"])
def test_a_script_that_leaves_something_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, release: bool, teardown: str
) -> None:
    """The vif is unbuffered and no plug is left, whatever becomes of the script."""
    monkeypatch.setattr(scripted, "TEARDOWN_S", 0.5)
    bench.script(teardown=teardown)
    ports = bench.build()
    if teardown == "gone":
        bench.path.unlink()
    bench.dismantle(ports, release=release)
    left = bench.kernel.picture()
    assert not [name for name in left if name.endswith(("ingress", "root", "alias"))], left


@pytest.mark.parametrize("release", [False, True])
def test_what_is_to_be_dropped_cannot_be_let_out_by_the_script(bench: Bench, release: bool) -> None:
    """Its ifb is down before it is called."""
    seen = bench.root / "seen"
    bench.script(teardown=f"ls $net/$REMUS_IFB >{seen}; {TEARDOWN}")
    bench.dismantle(bench.build(VIFS[0]), release=release)
    assert ("up" in seen.read_text().split()) is release


def test_a_left_over_is_found_and_removed_by_its_script(bench: Bench) -> None:
    with untouched(bench):
        bench.build()
        bench.calls()
        first, second = sweep.find_leftovers()
        assert (first.ifb, first.vif, first.domid, first.guest, first.session) == (
            *("buf0", "vif7.0", 7),
            *("uuid-a", "s1"),
        )
        assert first.plugged
        assert first.connected
        assert first.by_hand() == [
            f"vifname=vif7.0 XENBUS_PATH={NODES[0]} REMUS_IFB=buf0 {bench.path} teardown"
        ]
        sweep.remove(first, release=True)
        assert bench.kernel.told["buf0"][-1][0] is Action.RELEASE_INDEFINITE.value
        assert sweep.find_leftovers() == (second,)
        sweep.remove(second, release=False)
        sweep.remove(second, release=False)  # once more is no error
    assert sweep.find_leftovers() == ()


def test_a_left_over_whose_vif_is_gone(bench: Bench) -> None:
    bench.build(VIFS[0])
    for file in (bench.kernel.root / "vif7.0").iterdir():
        file.unlink()
    (bench.kernel.root / "vif7.0").rmdir()
    (left,) = sweep.find_leftovers()
    assert (left.ifb, left.vif, left.plugged, left.connected) == ("buf0", None, True, False)
    sweep.remove(left, release=False)
    assert bench.kernel.find("buf0") is None


def test_an_ifb_that_has_passed_to_another_vif_is_none_of_ours(bench: Bench) -> None:
    """We had died between the script's teardown and the alias's end."""
    bench.kernel.add("buf0", "ifb")
    bench.script(SETUP.replace("make", "echo plug >$net/$ifb/root"), KEEPS)
    bench.build(VIFS[0])
    alias = (bench.kernel.root / "buf0" / "alias").read_text()
    (bench.kernel.root / "vif7.0" / "ingress").unlink()
    bench.kernel.add("vif3.0", "veth", ingress="matchall 3 buf0\n")
    assert (bench.kernel.root / "buf0" / "alias").read_text() == alias
    assert sweep.find_leftovers() == ()
    (bench.kernel.root / "vif3.0" / "ingress").unlink()
    (bench.kernel.root / "buf0" / "root").unlink()
    assert sweep.find_leftovers() == ()


class Tap:
    def __init__(self, device: str) -> None:
        self.device = device

    def close(self) -> None:
        pass


@pytest.fixture
def driver(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> PlugDriver:
    monkeypatch.setattr(plug, "CompletionTap", Tap)
    monkeypatch.setattr(plug, "load_modules", lambda *, own_ifbs: None)
    return PlugDriver(guest="uuid-a", session="s1", script=str(bench.path))


def test_the_driver_uses_them_like_its_own(bench: Bench, driver: PlugDriver) -> None:
    with untouched(bench):
        driver.setup(VIFS)
        assert driver.mode is Mode.PASSING
        driver.postsuspend()
        driver.commit()
        limit = (Action.LIMIT, DEFAULT_LIMIT_BYTES)
        hooks = (Action.RELEASE_INDEFINITE, Action.BUFFER, Action.RELEASE_ONE)
        told = [limit, *((action, 0) for action in hooks)]
        assert bench.kernel.told == {"buf0": told, "buf1": told}
        driver.teardown(release=True)
    assert bench.calls()[2:] == [f"teardown vif7.{n} {NODES[n]} buf{n}" for n in range(2)]
    assert driver.weaknesses == ()
    assert bench.store.nodes() == []


def test_the_driver_tells_a_weakness(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, driver: PlugDriver
) -> None:
    bench.script("make && name && redirect 'u32 0x0800'")
    with pytest.raises(RedirectsTooLittle):
        driver.setup(VIFS)
    assert driver.mode is Mode.ABSENT
    forced = PlugDriver(script=str(bench.path), partial=True)
    forced.setup(VIFS)
    assert len(forced.weaknesses) == 2


def test_a_driver_that_fails_late_has_everything_taken_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, driver: PlugDriver
) -> None:
    def refuse(device: str) -> None:
        raise VifVanished(device=device)

    monkeypatch.setattr(plug, "CompletionTap", refuse)
    with untouched(bench), pytest.raises(VifVanished):
        driver.setup(VIFS)
