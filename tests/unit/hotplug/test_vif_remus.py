"""The hotplug script in dash and in busybox, with a xenstore of files.

The scripts named ``xenstore-*`` and ``ip`` stand for the programs of these names and write down
how they were called; sysfs is not asked for anything on the paths tested here.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.hotplug import store
from remus_ha.hotplug.script import SCRIPT
from remus_ha.hotplug.store import VifRecord, VifState

MAC = "00:16:3e:00:00:50"
DEVICE = "/local/domain/0/backend/vif/3/1"
SHELLS = [shell for shell in (["dash"], ["busybox", "sh"]) if shutil.which(shell[0])]

XENSTORE_LS = """#!/bin/sh
echo "xenstore-ls $*" >>"$CALLS"
cat "$DEVICE_FILE"
"""
XENSTORE_READ = """#!/bin/sh
echo "xenstore-read $*" >>"$CALLS"
sed -n "s/^${1##*/} = \\"\\(.*\\)\\"/\\1/p" "$DEVICE_FILE" | grep .
"""
RECORDER = """#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
"""
CUSTOM = """#!/bin/sh
echo "custom $* script=$script vif=$vif" >>"$CALLS"
"""


@dataclass
class Bench:
    root: Path
    shell: list[str]

    def __post_init__(self) -> None:
        (self.root / "bin").mkdir()
        (self.root / "scripts").mkdir()
        for name, text in (
            ("bin/xenstore-ls", XENSTORE_LS),
            ("bin/xenstore-read", XENSTORE_READ),
            ("bin/xenstore-write", RECORDER),
            ("bin/ip", RECORDER),
            ("scripts/vif-custom", CUSTOM),
            ("scripts/vif-bridge", CUSTOM),
        ):
            (self.root / name).write_text(text)
            (self.root / name).chmod(0o755)
        self.device(bridge="nobridge0")

    def device(self, **more: str) -> None:
        keys = {"frontend": "/local/domain/3/device/vif/1", "mac": MAC, "handle": "1", **more}
        text = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
        (self.root / "device").write_text(text)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.shell, str(SCRIPT), *arguments],
            env={
                "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
                "CALLS": str(self.root / "calls"),
                "DEVICE_FILE": str(self.root / "device"),
                "REMUS_HA_RUN_DIR": str(self.root / "run"),
                "REMUS_HA_STATE_DIR": str(self.root / "state"),
                "REMUS_HA_XEN_SCRIPTS": str(self.root / "scripts"),
                "XENBUS_PATH": DEVICE,
                "vif": "vif3.1",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=20,
        )

    def calls(self) -> list[str]:
        path = self.root / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(rundir, "ROOT", tmp_path / "run")
    monkeypatch.setattr(store, "STATE_ROOT", tmp_path / "state")
    return Bench(tmp_path, request.param)


READ_MAC = f"xenstore-read {DEVICE}/mac"
CONNECTED = f"xenstore-write {DEVICE}/hotplug-status connected"


def test_some_posix_shell_is_here() -> None:
    assert SHELLS


def test_shut_is_two_calls_and_none_of_them_touches_the_link(bench: Bench) -> None:
    store.write(VifRecord(MAC, VifState.SHUT, "br0", "vif-custom"))
    done = bench.run("online", "type_if=vif")
    assert (done.returncode, done.stderr) == (0, "")
    assert bench.calls() == [READ_MAC, CONNECTED]


@pytest.fixture
def dash(bench: Bench) -> Bench:
    """Not busybox, which calls an ``ip`` of its own."""
    if bench.shell != ["dash"]:
        pytest.skip("busybox calls its own ip")
    return bench


def test_a_shut_vif_has_the_name_of_its_record(dash: Bench) -> None:
    bench = dash
    store.write(VifRecord(MAC, VifState.SHUT, "br0", vifname="web0"))
    assert bench.run("online", "type_if=vif").returncode == 0
    assert bench.calls() == [READ_MAC, "ip link set dev vif3.1 name web0", CONNECTED]


def test_a_shut_vif_whose_record_is_broken_has_the_name_that_xenstore_knows(dash: Bench) -> None:
    bench = dash
    bench.device(vifname="web0")
    store.state_directory().mkdir(parents=True)
    (store.state_directory() / MAC).write_text("state=ajar\n")
    assert bench.run("online", "type_if=vif").returncode == 0
    assert bench.calls()[2:] == ["ip link set dev vif3.1 name web0", CONNECTED]


@pytest.mark.parametrize("text", ["", "state=\n", "state=ajar\n", "bridge=br0\n", "\0\0\0"])
def test_a_record_that_says_nothing_sensible_means_shut(bench: Bench, text: str) -> None:
    store.state_directory().mkdir(parents=True)
    (store.state_directory() / MAC).write_text(text)
    assert bench.run("online", "type_if=vif").returncode == 0
    assert bench.calls() == [READ_MAC, f"xenstore-ls {DEVICE}", CONNECTED]


def test_open_in_this_boot_goes_before_shut_for_good(bench: Bench) -> None:
    store.write(VifRecord(MAC, VifState.SHUT, original="vif-custom"))
    store.write(VifRecord(MAC, VifState.OPEN, original="vif-custom"))
    assert bench.run("online", "type_if=vif").returncode == 0
    script = bench.root / "scripts" / "vif-custom"
    assert bench.calls()[2:] == [f"custom online type_if=vif script={script} vif=vif3.1"]


def test_a_custom_script_may_have_a_path_of_its_own(bench: Bench) -> None:
    script = bench.root / "mine"
    shutil.copy(bench.root / "scripts" / "vif-custom", script)
    store.write(VifRecord(MAC, VifState.OPEN, original=str(script)))
    assert bench.run("online", "type_if=vif").returncode == 0
    assert bench.calls()[2:] == [f"custom online type_if=vif script={script} vif=vif3.1"]


def test_what_is_not_simple_is_left_to_xens_own_script(bench: Bench) -> None:
    """No record, and a bridge that is none: vif-bridge says what is wrong with it."""
    assert bench.run("online", "type_if=vif").returncode == 0
    script = bench.root / "scripts" / "vif-bridge"
    assert bench.calls()[2:] == [f"custom online type_if=vif script={script} vif=vif3.1"]


def test_a_missing_script_is_reported_to_xen(bench: Bench) -> None:
    store.write(VifRecord(MAC, VifState.OPEN, original="vif-nowhere"))
    done = bench.run("online", "type_if=vif")
    assert done.returncode == 1
    assert "vif-nowhere cannot be run" in done.stderr
    assert bench.calls()[-1].endswith(f"{DEVICE}/hotplug-status error")


def test_a_device_without_mac_is_an_error(bench: Bench) -> None:
    (bench.root / "device").write_text('bridge = "br0"\n')
    assert bench.run("online", "type_if=vif").returncode == 1
    assert "names no mac" in bench.calls()[-1]


def test_a_tap_of_a_shut_vif_stays_out_and_says_nothing(bench: Bench) -> None:
    store.write(VifRecord(MAC, VifState.SHUT))
    done = bench.run("add", "type_if=tap", INTERFACE="vif3.1-emu", XENBUS_PATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert bench.calls() == [READ_MAC]


@pytest.mark.parametrize(
    "call", [("add", "type_if=vif"), ("remove", "type_if=vif"), ("online", "type_if=tap")]
)
def test_the_other_half_of_a_device_is_nobodys(bench: Bench, call: tuple[str, str]) -> None:
    assert bench.run(*call, INTERFACE="vif3.1-emu").returncode == 0
    assert bench.calls() == []


@pytest.mark.parametrize("call", [("pause", "type_if=vif"), ("online", "type_if=tun")])
def test_unknown_calls_are_errors(bench: Bench, call: tuple[str, str]) -> None:
    done = bench.run(*call)
    assert done.returncode == 1
    assert "unknown" in done.stderr


def test_taking_down_a_shut_vif_calls_nobody(bench: Bench) -> None:
    """Its link is down, so its own script has never been called for it."""
    store.write(VifRecord(MAC, VifState.SHUT, original="vif-custom"))
    assert bench.run("offline", "type_if=vif").returncode == 0
    assert bench.calls() == [f"xenstore-read {DEVICE}/vifname"]  # there is no vif3.1 here


def test_the_script_can_be_run_as_it_is_installed() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
