"""Cases for the hotplug script, opening, shutting and announcing, on real devices.

Run by test_vifs.py as ``python3 vif_cases.py CASE SHELL``, in a network namespace of its own with
a bridge and veth pairs for vifs. xenstore is a stand-in of files. Prints one JSON object.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from plug_cases import Bench, expect, sh

from remus_ha import rundir
from remus_ha.hotplug import store
from remus_ha.hotplug.errors import VifNotOpened
from remus_ha.hotplug.records import device_name, open_vif, shut_vif
from remus_ha.hotplug.script import SCRIPT
from remus_ha.hotplug.store import VifRecord, VifState
from remus_ha.loop import Loop
from remus_ha.netbuf import announce
from remus_ha.netbuf.announce import Announcement, Announcer

XENSTORE_LS = """#!/bin/sh
echo "xenstore-ls $*" >>"$CALLS"
cat "$DEVICE_FILE"
"""
XENSTORE_READ = """#!/bin/sh
echo "xenstore-read $*" >>"$CALLS"
sed -n "s/^${1##*/} = \\"\\(.*\\)\\"/\\1/p" "$DEVICE_FILE" | grep .
"""
XENSTORE_WRITE = """#!/bin/sh
echo "xenstore-write $*" >>"$CALLS"
"""
CUSTOM = """#!/bin/sh
echo "custom $* script=$script vif=$vif path=$XENBUS_PATH" >>"$CALLS"
ip link set dev $vif up
"""


class Host(Bench):
    """A bench whose vifs are as netback makes them: down and in no bridge."""

    def __init__(self, shell: list[str]) -> None:
        super().__init__()
        sh("echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null || true")
        for vif in self.vifs:
            sh(f"ip link set {vif.name} down nomaster")
        self.shell = shell
        self.root = Path(tempfile.mkdtemp(prefix="vif-cases-"))
        rundir.ROOT = self.root / "run"
        store.STATE_ROOT = self.root / "state"
        (self.root / "bin").mkdir()
        for name, text in (
            ("bin/xenstore-ls", XENSTORE_LS),
            ("bin/xenstore-read", XENSTORE_READ),
            ("bin/xenstore-write", XENSTORE_WRITE),
            ("vif-custom", CUSTOM),
        ):
            (self.root / name).write_text(text)
            (self.root / name).chmod(0o755)

    def environment(self, n: int = 0) -> dict[str, str]:
        return {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(self.root / "calls"),
            "DEVICE_FILE": str(self.root / "device"),
            "REMUS_HA_RUN_DIR": str(self.root / "run"),
            "REMUS_HA_STATE_DIR": str(self.root / "state"),
            "XENBUS_PATH": f"/local/domain/0/backend/vif/7/{n}",
            "vif": f"vif7.{n}",
        }

    def hotplug(self, command: str, n: int = 0, **device: str) -> str:
        keys = {"mac": self.vifs[n].mac, "bridge": "br0", **device}
        text = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
        (self.root / "device").write_text(text)
        done = subprocess.run(
            [*self.shell, str(SCRIPT), command, "type_if=vif"],
            env=self.environment(n),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        calls = (self.root / "calls").read_text()
        (self.root / "calls").write_text("")
        return calls

    def record(self, n: int = 0, state: VifState = VifState.SHUT, **more: str) -> None:
        store.write(VifRecord(self.vifs[n].mac, state, **{"bridge": "br0", **more}))


def facts(name: str) -> dict[str, object]:
    return json.loads(sh(f"ip -j -d link show {name}"))[0]


def is_up(name: str) -> bool:
    return "UP" in facts(name)["flags"]  # type: ignore[operator]


def without_record(host: Host) -> None:
    """As without us: into the bridge that xenstore names, with its MTU, up, and connected."""
    calls = host.hotplug("online")
    assert facts("vif7.0")["master"] == "br0"
    assert is_up("vif7.0")
    assert calls.splitlines() == [
        "xenstore-read /local/domain/0/backend/vif/7/0/mac",
        "xenstore-ls /local/domain/0/backend/vif/7/0",
        "xenstore-write /local/domain/0/backend/vif/7/0/hotplug-status connected",
    ]
    host.wait_for_carrier()
    host.expect_exactly([host.send(1, 0, kind) for kind in ("ipv4", "ipv6", "arp", "vlan")])
    host.hotplug("offline")
    assert not is_up("vif7.0")


def mtu(host: Host) -> None:
    """A bridge's, or the device's own MTU is set and told to the guest."""
    sh("ip link set up0 mtu 9000 && ip link set br0 mtu 9000")
    calls = host.hotplug("online")
    assert facts("vif7.0")["mtu"] == 9000
    assert "/local/domain/7/device/vif/0/mtu 9000 " in calls
    calls = host.hotplug("online", 1, mtu="1400")
    assert facts("vif7.1")["mtu"] == 1400
    assert "/local/domain/7/device/vif/1/mtu 1400 " in calls


def names(host: Host) -> None:
    """A vif with a name of its own gets it, shut or open."""
    host.record(0, vifname="web0")
    host.hotplug("online", 0, vifname="web0")
    assert not is_up("web0")
    assert "master" not in facts("web0")
    host.hotplug("online", 1, vifname="web1")
    assert is_up("web1")
    assert facts("web1")["master"] == "br0"


def shut_then_open(host: Host) -> None:
    """Shut: down, in no bridge, connected; nothing gets out. Opened: in its bridge, frames go."""
    for n in range(4):
        host.record(n)
        calls = host.hotplug("online", n)
        assert calls.splitlines()[-1].endswith("hotplug-status connected")
        assert not is_up(f"vif7.{n}")
        assert "master" not in facts(f"vif7.{n}")
    assert device_name(7, 0) == "vif7.0"
    host.send_all(1)
    host.expect_silence()
    for _ in range(2):  # the second time changes nothing
        for n, vif in enumerate(host.vifs):
            open_vif(vif.mac, 7, n)
    for vif in host.vifs:
        assert is_up(vif.name)
        assert facts(vif.name)["master"] == "br0"
        assert store.read(vif.mac).state == VifState.OPEN
    host.wait_for_carrier()
    host.expect_exactly(host.send_all(2))
    for n, vif in enumerate(host.vifs):
        shut_vif(vif.mac, 7, n)
        assert not is_up(vif.name)
        assert "master" not in facts(vif.name)
        assert store.read(vif.mac).state == VifState.SHUT
    host.send_all(3)
    host.expect_silence()


def custom_script(host: Host) -> None:
    """A guest's own script is run when the vif is opened, as libxl would have run it."""
    script = str(host.root / "vif-custom")
    host.record(0, original=script)
    assert "custom" not in host.hotplug("online")
    os.environ.update(host.environment())
    open_vif(host.vifs[0].mac, 7, 0)
    called = (host.root / "calls").read_text()
    assert called == (
        f"custom online type_if=vif script={script} vif=vif7.0 "
        "path=/local/domain/0/backend/vif/7/0\n"
    ), called
    assert is_up("vif7.0")
    assert f"custom offline type_if=vif script={script}" in host.hotplug("offline")


def not_opened(host: Host) -> None:
    """What cannot be opened is an error that names vif and reason."""
    e = expect(VifNotOpened, lambda: open_vif(host.vifs[0].mac, 7, 0))
    assert "no record" in str(e)
    host.record(0, bridge="nowhere0")
    e = expect(VifNotOpened, lambda: open_vif(host.vifs[0].mac, 7, 0))
    assert "nowhere0" in str(e)
    assert "vif7.0" in str(e)
    host.record(1, original=str(host.root / "absent"))
    e = expect(VifNotOpened, lambda: open_vif(host.vifs[1].mac, 7, 1))
    assert "absent" in str(e)


def announced(host: Host) -> None:
    """Frames leave by the other ports only, all rounds of them; the bridge learns the vif."""
    for n in (0, 1):
        host.hotplug("online", n)
    host.wait_for_carrier()
    one, two = (
        Announcement(v.name, "br0", v.mac, ("192.0.2.7", "fe80::7"), (42,)) for v in host.vifs[:2]
    )
    host.drain()
    for guest in host.guests:
        guest.setblocking(False)
        empty(guest)
    loop = Loop()
    announcer = Announcer(loop, [one, two])
    start = time.monotonic()
    assert loop.until(lambda: announcer.done, start + 20)
    assert time.monotonic() - start >= sum(announce.GAPS_S) - 0.1
    got = empty(host.outside)
    for announcement in (one, two):
        wanted = [untagged(f) for f in announce.frames(announcement)] * len(announce.GAPS_S)
        mine = [f for f in got if f[6:12] == announce.parse_mac(announcement.mac)]
        assert sorted(mine) == sorted(wanted), (len(mine), len(wanted))
        port = json.loads(sh("bridge -j fdb show br br0"))
        entries = [e for e in port if e["mac"] == announcement.mac]
        assert [e["ifname"] for e in entries] == [announcement.vif], entries
    assert all(f[6:12] != announce.parse_mac(one.mac) for f in empty(host.guests[0]))


def untagged(frame: bytes) -> bytes:
    """As a packet socket shows it: the kernel takes the tag off."""
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame


def empty(s: socket.socket) -> list[bytes]:
    frames = []
    s.setblocking(False)
    while True:
        try:
            frames.append(untagged(s.recv(65536)))
        except BlockingIOError:
            return frames


CASES: dict[str, Callable[[Host], None]] = {
    case.__name__: case
    for case in (
        without_record,
        mtu,
        names,
        shut_then_open,
        custom_script,
        not_opened,
        announced,
    )
}


def main(name: str, *shell: str) -> int:
    host = None
    try:
        host = Host(list(shell))
        CASES[name](host)
        detail, ok = "", True
    except BaseException:
        detail, ok = traceback.format_exc(), False
    finally:
        if host is not None:
            shutil.rmtree(host.root)
    print(json.dumps({"name": name, "ok": ok, "detail": detail}))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
