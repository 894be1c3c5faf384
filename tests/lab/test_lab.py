"""The lab itself: every accident acts on real hosts and is undone, and nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.lab.capture import Capture
from remus_ha.lab.cluster import Lab
from remus_ha.lab.errors import HostDown, TimedOut
from remus_ha.lab.guests import GuestStatus
from remus_ha.lab.host import Host
from remus_ha.lab.ledger import LedgerClient
from remus_ha.lab.pcap import ChatterKind
from remus_ha.lab.plan import GuestPlan, Link
from remus_ha.lab.progress import Progress
from remus_ha.lab.xlconfig import INITRD, KERNEL, STOCK_VIF_SCRIPT, GuestSpec
from tests.lab.support.stage import Guest, Stage


@pytest.fixture
def clients(stage: Stage) -> Iterator[list[LedgerClient]]:
    """An outside client on each vif of the stage's guest: TCP over IPv6, UDP over IPv4."""
    plan = stage.guest(vifs=2).plan
    name = f"lab{time.monotonic_ns()}"
    made = [
        LedgerClient(stage.lab.enter, plan.ipv6(1), "tcp", name=f"t{name}"),
        LedgerClient(stage.lab.enter, plan.ipv4(0), "udp", name=f"u{name}"),
    ]
    for client in made:
        client.start()
    yield made
    for client in made:
        client.stop(settle_s=0.0)


def assert_silent(clients: list[LedgerClient], seconds: float = 1.0) -> None:
    since = time.monotonic() + 0.1
    for client in clients:
        with pytest.raises(TimedOut):
            client.wait_answer(since, seconds)


def assert_answering(clients: list[LedgerClient]) -> None:
    since = time.monotonic()
    for client in clients:
        client.wait_answer(since, 20)


@pytest.mark.gate
def test_a_hung_host_is_silent_and_comes_back(stage: Stage, clients: list[LedgerClient]) -> None:
    host = stage.host(stage.guest(vifs=2).host)
    assert_answering(clients)
    host.hang()
    assert stage.lab.status().hosts[host.plan.number - 1].hung
    assert_silent(clients)
    host.unhang()
    assert_answering(clients)
    for client in clients:
        report = client.stop()
        assert report.intact
        assert report.silence_ms > 1000


@pytest.mark.gate
def test_a_pulled_cable_silences_its_link_only(stage: Stage, clients: list[LedgerClient]) -> None:
    host = stage.host(stage.guest(vifs=2).host)
    assert_answering(clients)
    for link in (Link.REPL, Link.MGMT):
        host.set_plugged(link, False)
        assert_answering(clients)
        host.set_plugged(link, True)
    host.set_plugged(Link.GUEST, False)
    assert_silent(clients)
    host.set_plugged(Link.GUEST, True)
    assert_answering(clients)
    assert all(client.stop().intact for client in clients)


def seconds_of(host: Host, command: str) -> float:
    start = time.monotonic()
    host.shell.run(command)
    return time.monotonic() - start


@pytest.mark.gate
def test_a_slow_cable_slows_a_transfer(stage: Stage) -> None:
    a = stage.host("a")
    transfer = "head -c 500000 /dev/zero | ssh b 'cat >/dev/null'"
    try:
        a.slow(Link.REPL, "1mbit")
        slow_s = seconds_of(a, transfer)
    finally:
        a.slow(Link.REPL, None)
    assert slow_s - seconds_of(a, transfer) > 2.0, "4 s for the octets, less a burst"


@pytest.mark.gate
def test_a_loaded_dom0_is_busy_until_it_is_not(stage: Stage) -> None:
    a = stage.host("a")
    assert not a.loaded
    a.load(True)
    a.load(True)
    assert a.loaded
    busy = "ps -C sh -o stat= | grep -c R; true"
    assert int(a.shell.text(busy)) >= 1
    a.load(False)
    assert not a.loaded


@pytest.mark.gate
def test_a_capture_on_a_bridge_sees_all_that_a_guest_says(stage: Stage) -> None:
    guest = stage.guest(vifs=2)
    host = stage.host(guest.host)
    with Capture(host, "xenbr0") as capture:
        deadline = time.monotonic() + 20
        seen: set[tuple[ChatterKind, int]] = set()
        while len(seen) < 6 and time.monotonic() < deadline:
            guest.control.stat()
            chatter = [frame.chatter for frame in capture.frames()]
            seen = {(record.kind, record.vif) for record in chatter if record is not None}
    assert seen == {(kind, vif) for kind in ChatterKind for vif in (0, 1)}


def test_a_cut_host_is_gone_and_boots_afresh(stage: Stage) -> None:
    lab = stage.lab
    stage.drop_guest()
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    before = lab.ssh("b", boot_id).stdout
    lab.ssh("b", "touch /var/tmp/mark && sync")
    lab.cut("b")
    with pytest.raises(HostDown, match="'b'"):
        lab.ssh("b", "true")
    lab.boot("b")
    assert lab.ssh("b", boot_id).stdout != before
    assert lab.ssh("b", "test -e /var/tmp/mark", check=False).returncode == 1
    assert lab.ssh("b", "test -x /usr/bin/remus-ha", check=False).returncode == 0
    skew_s = float(lab.ssh("b", "date +%s.%N").stdout) - time.time()
    assert abs(skew_s) < 2


def row_of(stage: Stage, guest: Guest) -> GuestStatus | None:
    rows = [row for row in stage.lab.guests.list() if row.name == guest.name]
    return rows[0] if rows else None


def watched(stage: Stage, guest: Guest, how: str) -> None:
    """End the guest from inside and wait until Xen has told of it (@releaseDomain)."""
    host = stage.host(guest.host)
    watch = host.shell.popen("exec xenstore-watch -n 2 @releaseDomain")
    try:
        assert watch.stdout is not None
        assert watch.stdout.readline()
        guest.control.end(how)
        watch.wait(60)
    finally:
        watch.kill()
        watch.communicate()


@pytest.mark.parametrize("how", ["shutdown", "crash", "reboot"])
def test_a_guest_can_end_itself(stage: Stage, how: str) -> None:
    guest = stage.guest(vifs=1, fresh=True)
    stage.judge()
    before = row_of(stage, guest)
    assert before is not None
    watched(stage, guest, how)
    host = stage.host(guest.host)
    host.shell.run("xenstore-ls >/dev/null")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        after = row_of(stage, guest)
        if how == "shutdown" and after is None:
            break
        if how == "crash" and after is not None and "c" in after.state:
            break
        if how == "reboot" and after is not None and after.domid != before.domid:
            guest.control.command("welcome", timeout_s=40)
            break
    else:
        pytest.fail(f"{how}: {before} became {after}")
    stage.drop_guest()


def test_stock_scripts_work_too(stage: Stage) -> None:
    plan: GuestPlan = stage.lab.guests.create(GuestSpec("stock", vif_script=STOCK_VIF_SCRIPT), "a")
    assert stage.lab.guests.control("stock").stat().number == plan.number
    stage.lab.guests.destroy("stock")


def test_a_guest_has_the_kernel_and_the_processors_that_it_was_given(
    stage: Stage, tmp_path: Path
) -> None:
    """Both files lie on this machine; the guest runs on two processors."""
    stage.drop_guest()
    shell, files = stage.host("a").shell, (tmp_path / "kernel", tmp_path / "initrd")
    for file, there in zip(files, (KERNEL, INITRD), strict=True):
        file.write_bytes(shell.run(f"cat {there}", timeout_s=60).stdout)
    kernel, initrd = map(str, files)
    spec = GuestSpec("own", memory_mib=128, vcpus=2, kernel=kernel, initrd=initrd)
    plan = stage.lab.guests.create(spec, "a")
    assert stage.lab.guests.control("own").stat().number == plan.number
    config = json.loads(shell.text("xl list -l own"))[0]["config"]["b_info"]
    assert config["kernel"].endswith("own.kernel")
    assert config["ramdisk"].endswith("own.initrd")
    states = [line.split()[4] for line in shell.text("xl vcpu-list own").splitlines()[1:]]
    assert len(states) == 2
    assert all(set(state) & set("rb") for state in states), "both have been started"
    stage.lab.guests.destroy("own")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab of its own, beside the shared one; down afterwards, whatever the test did."""
    monkeypatch.setenv("REMUS_HA_RUN", str(tmp_path))
    lab = Lab(progress=Progress(None))
    yield lab
    lab.down()


def assert_nothing_left(lab: Lab) -> None:
    assert not lab.network.exists
    assert not lab.store.exists()
    assert not lab.run.exists()
    commands = Path("/proc").glob("[0-9]*/cmdline")
    for command in commands:
        try:
            words = command.read_bytes()
        except OSError:
            continue
        assert str(lab.run).encode() not in words, words


def test_down_leaves_nothing(elsewhere: Lab) -> None:
    elsewhere.up(hosts=1)
    try:
        elsewhere.up(hosts=1)
        assert elsewhere.status().hosts[0].pid is not None
        assert elsewhere.witness.running
    finally:
        elsewhere.down()
    assert_nothing_left(elsewhere)
    elsewhere.down()
    assert_nothing_left(elsewhere)


def test_three_hosts_reach_each_other_on_every_link(elsewhere: Lab) -> None:
    elsewhere.up(hosts=3)
    hosts = [elsewhere.host(name) for name in "abc"]
    for host in hosts:
        for other in hosts:
            for link in Link:
                host.shell.run(f"ping -c 1 -W 10 {other.plan.address(link)}")
    plan = elsewhere.guests.create(GuestSpec("far", vif_script=STOCK_VIF_SCRIPT), "c")
    assert elsewhere.guests.control("far").stat().number == plan.number
    assert [(guest.name, guest.host) for guest in elsewhere.guests.list()] == [("far", "c")]


def test_an_interrupted_up_leaves_nothing(elsewhere: Lab) -> None:
    # A test run in the background of a shell ignores the signal, and so would its child.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "remus_ha.lab.cli"]
    command += ["up", "--hosts", "1"]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith(("start a", "boot the hosts")):
                child.send_signal(signal.SIGINT)
                break
        said = child.stderr.read()
    assert child.returncode == 130, said
    assert_nothing_left(elsewhere)
