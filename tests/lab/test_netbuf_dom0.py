"""Buffers and shut vifs on a real dom0.

The plug cases need sch_plug, which a machine that runs these tests may lack: they run inside the
dom0, in network namespaces of their own. The shut vif needs a real netback and a real guest.
"""

import json
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.lab.cluster import Lab
from remus_ha.lab.control import HELLO_PORT
from remus_ha.lab.errors import LedgerUnreachable
from remus_ha.lab.plan import FIRST_GUEST, MAX_GUESTS, GuestPlan
from remus_ha.lab.xlconfig import BRIDGE, GuestSpec
from tests.lab.support.stage import Stage

CASES = Path(__file__).parents[1] / "functional" / "netbuf" / "plug_cases.py"
GUEST = "shutvif"
WRITE = """
from remus_ha.hotplug.records import VifRecord, write
for mac in {macs!r}:
    write(VifRecord(mac=mac, state="shut", bridge={bridge!r}))
"""
OPEN = """
from remus_ha.hotplug.records import open_vif
for devid, mac in enumerate({macs!r}):
    open_vif(mac, {domid}, devid)
"""
FORGET = """
from remus_ha.hotplug.records import forget
for mac in {macs!r}:
    forget(mac)
"""

HOLD_AND_DIE = """
import os
from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.plug import PlugDriver
d = PlugDriver(guest="lab", session="one")
d.setup([VifRef(*v) for v in {vifs!r}])
d.postsuspend()
os.kill(os.getpid(), 9)
"""
HOLD_AND_COUNT = """
import time
from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.plug import PlugDriver
d = PlugDriver(guest="lab", session="one")
d.setup([VifRef(*v) for v in {vifs!r}], held=True)
print("held")
input()
until = time.monotonic() + 30
while d.stats()[0].backlog_bytes <= {wanted} and time.monotonic() < until:
    time.sleep(0.2)  # the guest is at the last answers still
print(d.stats()[0].backlog_bytes)
d.teardown(release=True)
"""
TAKE_OVER = """
from remus_ha.netbuf.base import VifRef
from remus_ha.netbuf.plug import PlugDriver
d = PlugDriver(guest="lab", session="two")
d.setup([VifRef(*v) for v in {vifs!r}], adopt=True)
assert any(s.backlog_packets for s in d.stats()), d.stats()
d.teardown(release=True)
"""


def python(lab: Lab, program: str) -> None:
    lab.ssh("a", ["python3", "-c", program])


@pytest.mark.gate
def test_plug_cases(stage: Stage) -> None:
    """Held and let out exactly per epoch, limits, crashes, strangers: see plug_cases.py."""
    lab = stage.lab
    lab.ssh("a", "cat >/tmp/plug_cases.py", stdin=CASES.read_bytes())
    done = lab.ssh("a", "python3 -B /tmp/plug_cases.py", timeout_s=600, check=False)
    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    failed = {row["name"]: row["detail"] for row in rows if not row["ok"]}
    assert not failed, "\n".join(failed.values())
    assert len(rows) >= 14, done.stderr.decode()


@pytest.fixture
def shut_guest(lab: Lab) -> Iterator[GuestPlan]:
    """A guest whose two vifs come up by our script, as xl.conf's default, with records "shut"."""
    spec = GuestSpec(GUEST, vifs=2)
    numbers = range(FIRST_GUEST, FIRST_GUEST + MAX_GUESTS)  # it may get any of them
    macs = [GuestPlan(GUEST, number, 2).mac(vif) for number in numbers for vif in range(2)]
    python(lab, WRITE.format(macs=macs, bridge=BRIDGE))
    try:
        yield lab.guests.create(spec, "a", wait=False)
    finally:
        lab.ssh("a", f"xl destroy {GUEST}", check=False)
        python(lab, FORGET.format(macs=macs))


def hello(lab: Lab, timeout_s: float) -> bool:
    """Whether a guest's greeting arrives outside in time."""
    with lab.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("", HELLO_PORT))
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            ear.settimeout(left)
            try:
                if ear.recv(200).decode().split()[-1] == GUEST:
                    return True
            except TimeoutError:
                break
    return False


def wait_connected(lab: Lab, domid: int) -> None:
    """Until netback and netfront of both vifs are connected."""
    for devid in (0, 1):
        path = f"/local/domain/0/backend/vif/{domid}/{devid}/state"
        command = f"until [ $(xenstore-read {path}) = 4 ]; do sleep 0.2; done"
        lab.ssh("a", command, timeout_s=90)


def test_a_shut_vif_emits_nothing_until_it_is_opened(lab: Lab, shut_guest: GuestPlan) -> None:
    domid = int(lab.ssh("a", f"xl domid {GUEST}").stdout)
    wait_connected(lab, domid)
    assert not hello(lab, 5), "a shut vif let something out"
    for devid in (0, 1):
        link = json.loads(lab.ssh("a", f"ip -j link show vif{domid}.{devid}").stdout)[0]
        assert "UP" not in link["flags"], link
        assert "master" not in link, link
    macs = [shut_guest.mac(vif) for vif in range(2)]
    python(lab, OPEN.format(macs=macs, domid=domid))
    assert hello(lab, 30), "an opened vif let nothing out"
    lab.guests.control(GUEST).command("welcome")


def test_a_guest_sends_on_while_its_output_is_held(lab: Lab) -> None:
    """Large answers to 400 pings are all held; uncompleted, a quarter of them stop the guest."""
    plan = lab.guests.create(GuestSpec("wordy"), "a")
    domid = int(lab.ssh("a", "xl domid wordy").stdout)
    vifs = [(f"vif{domid}.0", plan.mac(0), 0, domid)]
    try:
        wanted = 390 * 1400
        program = ["python3", "-u", "-c", HOLD_AND_COUNT.format(vifs=vifs, wanted=wanted)]
        holder = lab.host("a").shell.popen(shlex.join(program), stdin=subprocess.PIPE)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with lab.enter():
            ping(plan.ipv4(), count=400, size=1400)
        counted, _ = holder.communicate(b"count\n", timeout=60)
        assert int(counted) > wanted, counted
    finally:
        lab.ssh("a", "xl destroy wordy", check=False)


def ping(address: str, count: int, size: int) -> None:
    """Echo requests, not so fast that the guest's ring overflows."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        for number in range(count):
            request = struct.pack("!BBHHH", 8, 0, 0, 77, number) + bytes(size)
            total = 0x0800 + 77 + number
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            s.sendto(request[:2] + struct.pack("!H", checksum) + request[4:], (address, 0))
            time.sleep(0.01)


def test_a_killed_owner_leaves_a_real_guests_output_held(lab: Lab) -> None:
    """The driver on real vifs: hold, kill -9, still held; take over, release: it comes."""
    plan = lab.guests.create(GuestSpec("heldvif", vifs=2), "a")
    domid = int(lab.ssh("a", "xl domid heldvif").stdout)
    try:
        vifs = [(f"vif{domid}.{n}", plan.mac(n), n, domid) for n in range(2)]
        program = HOLD_AND_DIE.format(vifs=vifs)
        died = lab.ssh("a", ["python3", "-c", program], check=False, timeout_s=60)
        assert died.returncode != 0, died
        with pytest.raises(LedgerUnreachable):  # its answers are held
            lab.guests.control("heldvif").command("stat", timeout_s=3)
        python(lab, TAKE_OVER.format(vifs=vifs))
        lab.guests.control("heldvif").command("stat")
        assert b"ifb" not in lab.ssh("a", "ip -d link show").stdout
    finally:
        lab.ssh("a", "xl destroy heldvif", check=False)
