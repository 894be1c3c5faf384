"""``-N``: a guest whose output buffers an operator's script sets up."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remus_ha.lab.host import Host
from tests.lab.support.protection import ENDS, Protection, refused
from tests.lab.support.stage import WITNESS, Stage
from tests.lab.test_output_commit import KINDS, observe

SAMPLE = Path(__file__).parents[2] / "etc" / "netbuf" / "remus-ha-netbuf"
PLACE = f"/usr/local/sbin/{SAMPLE.name}"
XENS = "/etc/xen/scripts/remus-netbuf-setup"
IFBS = ("ifb0", "ifb1")

# What Xen's script calls and this image has not got: net-tools, and libnl's command line tools.
_DEVICE = """for word; do case $word in
    --dev=*) dev=${word#*=} ;;
    --limit=*) limit=${word#*=} ;;
esac; done
"""
TOOLS = {
    "ifconfig": "ls /sys/class/net",
    "nl-qdisc-list": "tc qdisc show dev $2 | grep plug; true",
    "nl-qdisc-add": _DEVICE
    + "case $* in *--update*) verb=change ;; *) verb=add ;; esac\n"
    + "exec tc qdisc $verb dev $dev root plug limit ${limit:-1}",
    "nl-qdisc-delete": _DEVICE + "exec tc qdisc del dev $dev root",
}


def put(host: Host, path: str, text: str) -> None:
    host.shell.run(f"cat >{path} && chmod +x {path}", stdin=text.encode())


def netbuf_nodes(host: Host, domid: int) -> str:
    """What xenstore has of the guest's buffers."""
    return host.shell.text(f"xenstore-ls /libxl/{domid}/remus 2>/dev/null || true")


@contextmanager
def what_xens_script_needs(host: Host) -> Iterator[None]:
    """Its tools, and ifbs that are there already: it makes none."""
    places = " ".join(f"/usr/sbin/{name}" for name in TOOLS)
    for name, text in TOOLS.items():
        put(host, f"/usr/sbin/{name}", f"#!/bin/sh\n{text}\n")
    # The kernel may have made some by itself.
    host.shell.run("; ".join(f"ip link add {ifb} type ifb" for ifb in IFBS) + "; true")
    try:
        yield
    finally:
        host.shell.run("; ".join(f"ip link del {ifb}" for ifb in IFBS) + f"; rm {places}")


def test_a_guest_behind_the_sample_survives_and_nothing_leaves_early(stage: Stage) -> None:
    """IPv4, IPv6, ARP and VLAN-tagged frames are all held; then the primary loses its power."""
    guest = stage.guest()
    host = stage.host(guest.host)
    put(host, PLACE, SAMPLE.read_text())
    with Protection(stage, guest, "-N", PLACE) as p:
        domid = p.progress()["domid"]
        ifbs = host.shell.text("ip -br link show type ifb")
        assert all(f"nb{domid}.{vif} " in ifbs for vif in range(guest.plan.vifs)), ifbs
        assert "rh" not in ifbs, "we have made one as well"
        guest.clients.wait_answers()
        verdict = observe(p)
        assert not verdict.early
        assert all(verdict.judged.get(kind, 0) >= 50 for kind in KINDS), verdict.judged
        stage.lab.cut(p.primary)
        p.wait_failed_over()
        guest.clients.wait_answers()


def test_the_sample_takes_down_what_it_has_set_up(stage: Stage) -> None:
    """The primary's process dies; the next one takes the buffers over and ends with them."""
    guest = stage.guest()
    host = stage.host(guest.host)
    put(host, PLACE, SAMPLE.read_text())
    accident = "REMUS_HA_KILLPOINT=s2:20:process"
    with Protection(stage, guest, "-N", PLACE, environment=accident) as p:
        domid = p.progress()["domid"]
        assert netbuf_nodes(host, domid).count("ifb = ") == guest.plan.vifs
        p.log_primary.wait(r"guardian .*: starting")
        ends = p.log_primary.wait(ENDS), p.log_backup.wait(ENDS)
        stage.moved(guest, p.primary if ends[0].endswith("alone") else p.backup)
        guest.clients.wait_answers()
        assert netbuf_nodes(host, domid) == ""
    assert "nb" not in host.shell.text("ip -br link show type ifb")
    host.shell.run(f"rm {PLACE}")


def test_xens_own_script_holds_ipv4_alone_and_needs_force(stage: Stage) -> None:
    """NETBUF-018, with all taken back; with ``-F`` it is as it was with ``xl remus``, and said."""
    guest = stage.guest()
    host = stage.host(guest.host)
    clients = guest.clients
    with what_xens_script_needs(host):
        clients.wait_answers()
        told = refused(
            stage,
            guest.host,
            f"remus-ha protect --detach --witness {WITNESS} -N {XENS} {guest.name} {guest.other}",
        )
        assert "NETBUF-018" in told
        assert "only u32 for IPv4" in told
        clients.wait_answers()
        qdiscs = host.shell.text("tc qdisc")
        assert "plug" not in qdiscs
        assert "ingress" not in qdiscs
        with Protection(stage, guest, "-F", "-N", XENS) as p:
            p.log_primary.wait("NETBUF-018")
            clients.wait_answers()
            verdict = observe(p)
            early = {frame.kind for frame in verdict.early}
            assert early >= {"arp", "ipv6", "vlan"}
            assert "ipv4" not in early
            assert verdict.judged.get("ipv4", 0) >= 50, verdict.judged
            p.unprotect()
        assert "plug" not in host.shell.text("tc qdisc")
