"""Cases for the plug driver on a kernel that has sch_plug, with veth pairs for vifs.

A plain script, because the kernel that has the modules may be a dom0 without any test tool:

    python3 plug_cases.py [CASE...]

makes a network namespace of its own for each case, prints one JSON object per case
(``name``, ``ok``, ``detail``) and exits with the number of failures. Needs root.
"""

import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from remus_ha.netbuf.base import VifRef, VifStats
from remus_ha.netbuf.errors import ForeignIngress, HookRefused, LeftoverInTheWay, PlugMissing
from remus_ha.netbuf.modes import Mode
from remus_ha.netbuf.plug import LOWEST_LIMIT_BYTES, PlugDriver
from remus_ha.netbuf.precheck import vif_obstacles
from remus_ha.netbuf.sweep import find_leftovers, remove
from remus_ha.waiting import readable

CLONE_NEWNS = 0x20000
CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_ADD_MEMBERSHIP = 1
PACKET_IGNORE_OUTGOING = 23
PACKET_MR_PROMISC = 1
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
CASE_S = 120
MARK = b"RHMARK"
VIFS = 4
QUIET_S = 0.3
ARRIVE_S = 10.0


def ipv4(body: bytes) -> bytes:
    """A datagram that bridge filters find well formed."""
    head = bytearray(struct.pack("!BBHIBBH", 0x45, 0, 28 + len(body), 0x1234, 64, 17, 0))
    head += bytes.fromhex("c0000207 c00002ff")
    total = sum(struct.unpack("!10H", head))
    head[10:12] = struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
    return bytes(head) + udp(body)


def ipv6(body: bytes) -> bytes:
    head = struct.pack("!IHBB", 0x60000000, 8 + len(body), 17, 1)
    return head + bytes.fromhex("fe80" + "00" * 13 + "07" + "ff02" + "00" * 13 + "01") + udp(body)


def udp(body: bytes) -> bytes:
    return struct.pack("!HHHH", 7, 7, 8 + len(body), 0) + body


KINDS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ipv4": (0x0800, ipv4),
    "ipv6": (0x86DD, ipv6),
    "arp": (0x0806, lambda body: bytes.fromhex("0001080006040001") + bytes(20) + body),
    "vlan": (0x8100, lambda body: struct.pack("!HH", 42, 0x0800) + ipv4(body)),
    "other": (0x88B5, lambda body: body),
}


def sh(command: str) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr}")
    return done.stdout


class Bench:
    """A bridge with four vifs, a guest's end behind each, and an uplink that is watched."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET | CLONE_NEWNS):
            raise OSError(ctypes.get_errno(), "unshare")
        sh("mount --make-rprivate / && mount -t sysfs sys /sys")  # of this network namespace
        for key in ("all", "default"):
            with open(f"/proc/sys/net/ipv6/conf/{key}/disable_ipv6", "w") as f:
                f.write("1")
        sh("ip link add br0 type bridge && ip link set br0 up")
        sh("ip link add up0 type veth peer name out0")
        sh("ip link set up0 master br0 up && ip link set out0 up")
        self.vifs = [
            VifRef(f"vif7.{n}", f"00:16:3e:00:00:{n:02x}", devid=n, domid=7) for n in range(VIFS)
        ]
        for n, vif in enumerate(self.vifs):
            sh(f"ip link add {vif.name} type veth peer name g{n}")
            sh(f"ip link set {vif.name} master br0 up && ip link set g{n} up")
            # A burst that is flooded to all would overrun the queue by which veth passes it on.
            sh(f"ip link set {vif.name} type bridge_slave bcast_flood off mcast_flood off")
        self.wait_for_carrier()
        self.guests = [self.raw(f"g{n}") for n in range(VIFS)]
        self.outside = self.raw("out0")
        index = socket.if_nametoindex("out0")
        self.outside.setsockopt(
            SOL_PACKET,
            PACKET_ADD_MEMBERSHIP,
            struct.pack("=iHH8s", index, PACKET_MR_PROMISC, 0, b""),
        )
        self.outside.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.drain()

    @staticmethod
    def wait_for_carrier() -> None:
        """Bridge ports forward when their state says so."""
        deadline = time.monotonic() + 10
        for name in os.listdir("/sys/class/net/br0/brif"):
            path = f"/sys/class/net/br0/brif/{name}/state"
            while open(path).read().strip() != "3":
                assert time.monotonic() < deadline, f"{name} does not forward"
                time.sleep(0.02)

    @staticmethod
    def raw(name: str) -> socket.socket:
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        s.bind((name, ETH_P_ALL))
        # A frame counts against its sender as long as it is queued anywhere.
        for option in (SO_SNDBUFFORCE, SO_RCVBUFFORCE):
            s.setsockopt(socket.SOL_SOCKET, option, 64 << 20)
        return s

    def send(
        self, epoch: int, n: int = 0, kind: str = "ipv4", number: int = 0, pad: int = 0
    ) -> str:
        mark = f"{epoch}/{n}/{kind}/{number:06d}"  # of one length, for the sum at the limit
        mac = bytes.fromhex(self.vifs[n].mac.replace(":", ""))
        body = MARK + mark.encode() + b";" + bytes(pad)
        ethertype, around = KINDS[kind]
        self.guests[n].send(b"\xff" * 6 + mac + struct.pack("!H", ethertype) + around(body))
        return mark

    def send_all(self, epoch: int, rounds: int = 3) -> list[str]:
        """Every kind of frame on every vif, some rounds of it."""
        return [
            self.send(epoch, n, kind, number)
            for number in range(rounds)
            for n in range(VIFS)
            for kind in KINDS
        ]

    def drain(self) -> None:
        while readable(self.outside, 0):
            self.outside.recv(65536)

    def arrivals(self, count: int, timeout_s: float = ARRIVE_S) -> list[str]:
        """Marks that come out of the uplink: until ``count`` are there, or the time is up."""
        marks: list[str] = []
        deadline = time.monotonic() + timeout_s
        while len(marks) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not readable(self.outside, left):
                break
            frame = self.outside.recv(65536)
            at = frame.find(MARK)
            if at >= 0:
                marks.append(frame[at + len(MARK) :].split(b";")[0].decode())
        return marks

    def expect_exactly(self, marks: list[str]) -> None:
        """These frames arrive, per vif in order, and then none for a while."""
        got = self.arrivals(len(marks))
        assert sorted(got) == sorted(marks), f"sent {len(marks)}, got {len(got)}: {got[:5]}"
        for n in range(VIFS):
            mine = [m for m in marks if m.split("/")[1] == str(n)]
            assert [m for m in got if m.split("/")[1] == str(n)] == mine, f"order on vif {n}"
        self.expect_silence()

    def expect_silence(self) -> None:
        late = self.arrivals(1, QUIET_S)
        assert late == [], f"leaked {late}"

    def expect_no_trace(self) -> None:
        assert "ifb" not in sh("ip -d link show"), "an ifb is left"
        assert "ingress" not in sh("tc qdisc show"), "an ingress qdisc is left"
        assert find_leftovers() == ()


def driver(**more: object) -> PlugDriver:
    return PlugDriver(**{"guest": "uuid-a", "session": "s1", **more})  # type: ignore[arg-type]


def epochs(bench: Bench) -> dict[str, object]:
    """Frames of all ethertypes are held and let out exactly per epoch, on four vifs."""
    d = driver()
    d.setup(bench.vifs)
    bench.expect_exactly(bench.send_all(0))  # passing until the first suspend
    d.postsuspend()
    d.preresume()
    first = bench.send_all(1)
    bench.expect_silence()
    d.commit()
    bench.expect_silence()  # frames of epoch 1 wait for commit 1
    for epoch in range(2, 7):
        d.postsuspend()
        d.preresume()
        second = bench.send_all(epoch)
        bench.expect_silence()
        d.commit()
        bench.expect_exactly(first)
        first = second
    fills = d.stats()
    assert [f.backlog_packets for f in fills] == [len(first) // VIFS] * VIFS, fills
    assert all(f.highest_bytes >= f.backlog_bytes > 0 and f.drops == 0 for f in fills), fills
    assert [f.vif for f in fills] == [v.name for v in bench.vifs]
    d.teardown(release=True)
    bench.expect_exactly(first)
    bench.expect_exactly(bench.send_all(7))
    bench.expect_no_trace()
    return {"fills": [f.highest_bytes for f in fills]}


def refused_hooks(bench: Bench) -> dict[str, object]:
    """A second close before the commit, a second commit, a commit after a hold: refused."""
    d = driver()
    d.setup(bench.vifs)
    for hook in (d.commit, d.preresume):
        expect(HookRefused, hook)
    d.postsuspend()
    expect(HookRefused, d.postsuspend)
    d.hold()  # nothing to do, the epoch may still be committed
    d.commit()
    expect(HookRefused, d.commit)
    d.pass_through()
    d.hold()
    assert d.mode is Mode.HELD
    held = bench.send_all(1)
    expect(HookRefused, d.commit)
    bench.expect_silence()
    d.pass_through()
    bench.expect_exactly(held)
    d.teardown(release=True)
    bench.expect_no_trace()
    return {}


def completion(bench: Bench) -> dict[str, object]:
    """While a buffer is there something listens on its vif, and what it hears it does not keep."""
    d = driver()
    d.setup(bench.vifs)
    assert listeners() == {v.name for v in bench.vifs}, listeners()
    d.teardown(release=True)
    assert listeners() == set(), listeners()
    sh("tc qdisc add dev vif7.3 clsact")
    expect(ForeignIngress, lambda: d.setup(bench.vifs))
    assert listeners() == set(), listeners()
    return {}


def listeners() -> set[str]:
    """Vifs that a packet socket is bound to."""
    with open("/proc/thread-self/net/ptype") as f:
        rows = [line.split() for line in f]
    return {row[1] for row in rows if row[:1] == ["ALL"] and row[1].startswith("vif")}


def limit(bench: Bench) -> dict[str, object]:
    """At the limit frames are dropped and counted; those held go out exactly."""
    d = driver(limit_bytes=LOWEST_LIMIT_BYTES)
    d.setup(bench.vifs, held=True)
    pad, sent = 1400, 900
    marks = [bench.send(1, 0, "ipv4", number, pad) for number in range(sent)]
    others = [bench.send(1, 1, "ipv6", number) for number in range(10)]
    full, other = settled(d, sent, len(others))
    fit = LOWEST_LIMIT_BYTES // (full.backlog_bytes // full.backlog_packets)
    assert full.drops == sent - fit > 0, full
    assert full.backlog_packets == fit, full
    assert full.backlog_bytes <= full.limit_bytes, full
    assert (other.drops, other.backlog_packets) == (0, 10), other
    bench.expect_silence()
    d.postsuspend()
    d.commit()
    bench.expect_exactly(marks[:fit] + others)
    assert d.stats()[0].highest_bytes == full.backlog_bytes
    d.teardown(release=True)
    return {"held": fit, "dropped": full.drops}


def settled(d: PlugDriver, *counts: int) -> list[VifStats]:
    """The first buffers' figures, once so many frames have got there: the kernel may be behind."""
    deadline = time.monotonic() + ARRIVE_S
    while True:
        found = list(d.stats()[: len(counts)])
        if [s.backlog_packets + s.drops for s in found] == list(counts):
            return found
        assert time.monotonic() < deadline, found
        os.sched_yield()  # nothing tells of a frame's arrival in a qdisc


def killed(bench: Bench) -> dict[str, object]:
    """Killed in the middle of an epoch: output held; taken over without a frame let out."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        d = driver()
        d.setup(bench.vifs)
        d.postsuspend()
        d.commit()
        marks = bench.send_all(1)
        d.postsuspend()
        marks += bench.send_all(2)
        os.write(writer, json.dumps(marks).encode())
        signal.pause()
    marks = json.loads(os.read(reader, 1 << 20))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    bench.expect_silence()
    stranger = driver(guest="uuid-b")
    expect(LeftoverInTheWay, lambda: stranger.setup(bench.vifs, adopt=True))
    expect(LeftoverInTheWay, lambda: driver(session="s2").setup(bench.vifs))
    bench.expect_silence()
    left = find_leftovers()
    assert [(x.ifb, x.vif, x.guest, x.session, x.plugged, x.connected) for x in left] == [
        (f"rh7.{n}", f"vif7.{n}", "uuid-a", "s1", True, True) for n in range(VIFS)
    ], left
    d = driver(session="s2")
    d.setup(bench.vifs, adopt=True)
    assert d.mode is Mode.HELD
    assert {x.session for x in find_leftovers()} == {"s2"}
    marks += bench.send_all(3)
    bench.expect_silence()
    # Committing a new epoch frees as many frames, but of the oldest: late, never early.
    d.postsuspend()
    young = bench.send_all(4)
    d.commit()
    early = set(bench.arrivals(len(marks), QUIET_S)) & set(young)
    assert not early, early
    d.pass_through()
    bench.arrivals(len(marks) + len(young), 2)
    d.teardown(release=True)
    bench.expect_no_trace()
    return {"held": len(marks)}


def taken_over_passes_all(bench: Bench) -> dict[str, object]:
    """After a take-over a release lets everything held out, in order; after a hold likewise."""
    first = driver()
    first.setup(bench.vifs, held=True)
    marks = bench.send_all(1)
    first.close()
    second = driver(session="s2")
    second.setup(bench.vifs, adopt=True)
    marks += bench.send_all(2)
    bench.expect_silence()
    second.pass_through()
    bench.expect_exactly(marks)
    second.teardown(release=True)
    bench.expect_no_trace()
    return {}


def half_made(bench: Bench) -> dict[str, object]:
    """A set-up that died at any step is completed by a take-over, held from then on."""
    sh("ip link add rh7.0 type ifb")
    sh(
        "ip link add rh7.1 type ifb && ip link set rh7.1 alias 'remus-ha vif=vif7.1 guest=uuid-a "
        "session=s0' && tc qdisc add dev rh7.1 root plug limit 2000000"
    )
    sh(
        "ip link add rh7.2 type ifb && ip link set rh7.2 alias 'remus-ha vif=vif7.2 guest=uuid-a "
        "session=s0' && tc qdisc add dev rh7.2 root plug limit 2000000 && ip link set rh7.2 up "
        "&& tc qdisc add dev vif7.2 ingress"
    )
    expect((LeftoverInTheWay, ForeignIngress), lambda: driver().setup(bench.vifs))
    d = driver()
    d.setup(bench.vifs, adopt=True)
    marks = bench.send_all(1)
    bench.expect_silence()
    d.pass_through()
    bench.expect_exactly(marks)
    d.teardown(release=True)
    bench.expect_no_trace()
    return {}


def foreign(bench: Bench) -> dict[str, object]:
    """A vif with another's ingress qdisc is refused; it and the others are as before."""
    owners = (
        "tc qdisc add dev vif7.3 clsact && tc filter add dev vif7.3 ingress matchall action pass",
        "tc qdisc add dev vif7.3 ingress && tc filter add dev vif7.3 parent ffff: protocol ip "
        "u32 match u32 0 0 action drop",
        "tc qdisc add dev vif7.3 ingress",
        "tc qdisc add dev vif7.3 ingress && ip link add alien type ifb && ip link set alien up "
        "&& tc filter add dev vif7.3 parent ffff: matchall action mirred egress redirect "
        "dev alien",
    )
    for owner in owners:
        sh(owner)
        before = picture()
        for adopt in (False, True):
            e = expect(ForeignIngress, lambda adopt=adopt: driver().setup(bench.vifs, adopt=adopt))
            assert (e.code, "vif7.3" in str(e)) == ("NETBUF-005", True), e
            assert picture() == before, "something was touched"
        kind = "clsact" if "clsact" in owner else "ingress"
        sh(f"tc qdisc del dev vif7.3 {kind}")
        if "alien" in owner:
            sh("ip link del alien")
    bench.expect_exactly(bench.send_all(1))
    return {"owners": len(owners)}


def picture() -> str:
    return sh(
        "ip link show; tc qdisc show; for v in 0 1 2 3; do tc filter show dev vif7.$v ingress; done"
    )


def stream(bench: Bench) -> dict[str, object]:
    """Frames sent all the while a buffer is set up, used and taken down: none lost, in order."""
    stop = threading.Event()
    marks: list[str] = []

    def send() -> None:
        while not stop.is_set():
            marks.append(bench.send(0, 0, "ipv4", len(marks)))
            time.sleep(0.0002)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(3):
            d = driver()
            d.setup(bench.vifs)
            for _ in range(5):
                d.postsuspend()
                time.sleep(0.02)
                d.commit()
                time.sleep(0.02)
            d.teardown(release=True)
    finally:
        stop.set()
        sender.join()
    bench.expect_exactly(marks)
    bench.expect_no_trace()
    return {"frames": len(marks)}


def discarded(bench: Bench) -> dict[str, object]:
    """A tear-down without release lets nothing of what is held out."""
    d = driver()
    d.setup(bench.vifs, held=True)
    bench.send_all(1)
    d.teardown(release=False)
    bench.expect_silence()
    bench.expect_no_trace()
    return {}


def vif_gone(bench: Bench) -> dict[str, object]:
    """A vif that goes away harms no hook; the others' frames still go exactly."""
    d = driver()
    d.setup(bench.vifs)
    d.postsuspend()
    d.commit()
    marks = bench.send_all(1)
    sh("ip link del vif7.2")
    d.postsuspend()
    d.commit()
    bench.expect_exactly([m for m in marks if m.split("/")[1] != "2"])
    d.teardown(release=True)
    bench.expect_no_trace()
    return {}


def taken_over_without_vif(bench: Bench) -> dict[str, object]:
    """Of a vif that is gone what is left is taken over; where nothing is left it is left out."""
    first = driver()
    first.setup(bench.vifs[:3], held=True)
    marks = bench.send_all(1)[: VIFS * len(KINDS)]
    sh("ip link del vif7.1 && ip link del vif7.3")
    first.close()
    second = driver(session="s2")
    second.setup(bench.vifs, adopt=True)
    assert [s.vif for s in second.stats()] == ["vif7.0", "vif7.1", "vif7.2"]
    bench.drain()  # of vif 3, which nobody had buffered
    bench.expect_silence()
    second.pass_through()
    got = bench.arrivals(len(marks), 2)
    assert {m.split("/")[1] for m in got} == {"0", "2"}, got
    second.teardown(release=True)
    bench.expect_no_trace()
    return {}


def plug_gone(bench: Bench) -> dict[str, object]:
    """A plug that somebody removed is an error of the next hook, and the rest stays held."""
    d = driver()
    d.setup(bench.vifs)
    d.postsuspend()
    d.commit()
    sh("ip link del rh7.1")
    e = expect(Exception, d.postsuspend)
    assert getattr(e, "code", "") == "NETBUF-004", repr(e)
    assert d.mode is Mode.DOUBTFUL
    expect(HookRefused, d.commit)
    bench.send_all(1)
    bench.expect_silence()  # a redirect to nowhere drops, it does not pass
    d.teardown(release=False)
    bench.expect_no_trace()
    return {}


def sweeping(bench: Bench) -> dict[str, object]:
    """Left-overs are found, whole, half and orphaned, and removed as asked."""
    d = driver()
    d.setup(bench.vifs, held=True)
    d.close()
    marks = [bench.send(1, 0), bench.send(1, 1)]
    sh("ip link del rh7.2 && ip link del vif7.3 && ip link add alien type ifb")
    found = {x.ifb or x.vif: x for x in find_leftovers()}
    assert set(found) == {"rh7.0", "rh7.1", "rh7.3", "vif7.2"}, found
    assert found["rh7.3"].vif is None
    assert found["rh7.3"].domid == 7
    assert found["vif7.2"].connected
    remove(found["rh7.0"], release=True)
    remove(found["rh7.1"], release=False)
    remove(found["rh7.3"], release=True)
    remove(found["vif7.2"], release=False)
    bench.expect_exactly(marks[:1])
    remove(found["rh7.0"], release=True)  # once more is no error
    assert find_leftovers() == ()
    assert "alien" in sh("ip link show")
    marks = [bench.send(2, n) for n in range(3)]
    bench.expect_exactly(marks)
    return {}


def segmented_tcp(bench: Bench) -> dict[str, object]:
    """A bulk TCP transfer with segmentation and checksum offload survives a hundred epochs."""
    sh("ip addr add 192.0.2.1/24 dev out0")
    holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
    try:
        wait_for(
            lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net")
        )
        sh(f"ip link set g0 netns {holder.pid}")
        sh(f"nsenter -n -t {holder.pid} ip addr add 192.0.2.2/24 dev g0")
        sh(f"nsenter -n -t {holder.pid} ip link set g0 up")
        listener = socket.create_server(("192.0.2.1", 7000))
        total = 4 << 20
        program = (
            "import socket; s=socket.create_connection(('192.0.2.1',7000)); "
            f"s.sendall(bytes({total})); s.shutdown(1); s.recv(1)"
        )
        d = driver()
        d.setup(bench.vifs[:1])
        guest = subprocess.Popen(
            ["nsenter", "-n", "-t", str(holder.pid), sys.executable, "-c", program]
        )
        got = receive_in_epochs(d, listener)
        assert guest.wait(20) == 0
        fill = d.stats()[0]
        d.teardown(release=True)
    finally:
        holder.kill()
        holder.wait()
    assert got["octets"] == total, got
    assert fill.drops == 0, fill
    return {**got, "highest_bytes": fill.highest_bytes}


def receive_in_epochs(d: PlugDriver, listener: socket.socket) -> dict[str, int]:
    octets, epoch_count = 0, 0
    listener.setblocking(False)
    peer: socket.socket | None = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        d.postsuspend()
        d.commit()
        epoch_count += 1
        ready = readable(peer or listener, 0.01)
        if ready and peer is None:
            peer = listener.accept()[0]
            peer.setblocking(False)
        while peer is not None:
            try:
                data = peer.recv(1 << 20)
            except BlockingIOError:
                break
            if not data:
                d.pass_through()
                peer.close()
                return {"octets": octets, "epochs": epoch_count}
            octets += len(data)
    raise AssertionError(f"only {octets} octets after {epoch_count} epochs")


def prechecks(bench: Bench) -> dict[str, object]:
    """What stands in the way is told, for each vif, and nothing is touched."""
    names = [v.name for v in bench.vifs]
    assert vif_obstacles(names) == []
    sh("tc qdisc add dev vif7.3 clsact")
    driver().setup(bench.vifs[:1])
    before = picture()
    found = vif_obstacles([*names, "vif9.0"])
    assert [e.code for e in found] == ["NETBUF-010", "NETBUF-005", "NETBUF-004"], found
    assert "uuid-a" in str(found[0]), found[0]
    assert picture() == before, "something was touched"
    return {}


def no_plug(bench: Bench) -> dict[str, object]:
    """Without sch_plug: a typed refusal, and vifs and host as before."""
    before = picture()
    for adopt in (False, True):
        e = expect(PlugMissing, lambda adopt=adopt: driver().setup(bench.vifs, adopt=adopt))
        assert e.code == "NETBUF-001", e
        assert picture() == before, "something was touched"
        bench.expect_no_trace()
    codes = [e.code for e in vif_obstacles(["vif7.0", "vif9.0"])]
    assert codes == ["NETBUF-001", "NETBUF-004"], codes
    bench.expect_exactly(bench.send_all(1))
    return {}


def cost(bench: Bench) -> dict[str, object]:
    """What the hooks cost with four vifs (an observation; bounded only against nonsense)."""
    d = driver()
    d.setup(bench.vifs)
    taken = []
    for _ in range(200):
        start = time.perf_counter()
        d.postsuspend()
        d.preresume()
        d.commit()
        taken.append((time.perf_counter() - start) * 1e6)
    d.teardown(release=True)
    taken.sort()
    assert taken[100] < 100_000, taken[100]
    return {"median_us": round(taken[100]), "p99_us": round(taken[197])}


def expect(kind: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], object]):
    try:
        call()
    except kind as e:
        return e
    raise AssertionError(f"{kind} was not raised")


def wait_for(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


CASES: dict[str, Callable[[Bench], dict[str, object]]] = {
    case.__name__: case
    for case in (
        epochs,
        refused_hooks,
        completion,
        limit,
        killed,
        taken_over_passes_all,
        half_made,
        foreign,
        stream,
        discarded,
        vif_gone,
        taken_over_without_vif,
        plug_gone,
        sweeping,
        segmented_tcp,
        prechecks,
        cost,
        no_plug,
    )
}


def run(
    name: str,
    cases: Mapping[str, Callable[[Any], dict[str, object]]] = CASES,
    bench: Callable[[], Bench] = Bench,
) -> bool:
    """One case in a process of its own: its namespace and its plugs end with it."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    signal.alarm(CASE_S)
    start = time.monotonic()
    try:
        detail: object = cases[name](bench())
        ok = True
    except BaseException:
        detail, ok = traceback.format_exc(), False
    seconds = round(time.monotonic() - start, 2)
    print(json.dumps({"name": name, "ok": ok, "seconds": seconds, "detail": detail}), flush=True)
    os._exit(0 if ok else 1)


def main(names: list[str]) -> int:
    import pyroute2  # noqa: F401  once for all cases: it is slow to import

    return sum(not run(name) for name in names or CASES if names or name != "no_plug")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
