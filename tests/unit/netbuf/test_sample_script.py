"""The sample of a script for ``-N``: which commands it gives, in which order."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.functional.netbuf.played_xenstore import Files

SAMPLE = Path(__file__).parents[3] / "etc" / "netbuf" / "remus-ha-netbuf"
NODE = "/libxl/7/remus/netbuf/1"
RECORDER = """#!/bin/sh
echo "${0##*/} $*" >>"$CALLS"
case "${0##*/} $*" in $FAILS) exit 1 ;; esac
"""
MADE = [
    "ip link add nb7.1 type ifb",
    "tc qdisc add dev nb7.1 root plug limit 67108864",
    "ip link set dev nb7.1 up",
    "tc qdisc add dev web0 ingress",
    "tc filter add dev web0 parent ffff: protocol all matchall action mirred egress redirect dev"
    " nb7.1",
]
GONE = ["tc qdisc del dev web0 ingress", "ip link del dev nb7.1 type ifb"]


class Bench:
    """``ip`` and ``tc`` write down how they were called; one that matches ``fails`` fails."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Files(root)
        for name in ("ip", "tc"):
            (self.store.bin / name).write_text(RECORDER)
            (self.store.bin / name).chmod(0o755)

    def run(self, *words: str, fails: str = "", **environment: str) -> int:
        told = {"vifname": "web0", "XENBUS_PATH": NODE, **environment}
        return subprocess.run(
            ["dash", str(SAMPLE), *words],  # busybox calls its own ip
            env={
                "PATH": f"{self.store.bin}:{os.environ['PATH']}",
                "CALLS": str(self.root / "calls"),
                "FAILS": fails,
                **{key: value for key, value in told.items() if value},
            },
            capture_output=True,
            timeout=60,
        ).returncode

    def calls(self) -> list[str]:
        path = self.root / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    if not shutil.which("dash"):
        pytest.skip("no dash here")
    return Bench(tmp_path)


def test_the_plug_is_there_before_the_first_frame(bench: Bench) -> None:
    assert bench.run("setup") == 0
    assert bench.calls() == MADE
    assert bench.store.read("", f"{NODE}/ifb") == b"nb7.1"
    assert bench.store.read("", f"{NODE}/hotplug-status") == b"connected"
    assert bench.store.read("", f"{NODE}/hotplug-error") is None


@pytest.mark.parametrize("step", range(len(MADE)))
def test_a_step_that_fails_is_told_and_the_last_one(bench: Bench, step: int) -> None:
    assert bench.run("setup", fails=MADE[step]) == 1
    assert bench.calls() == MADE[: step + 1]
    assert bench.store.read("", f"{NODE}/hotplug-status") == b"error"
    assert bench.store.read("", f"{NODE}/hotplug-error")
    assert (bench.store.read("", f"{NODE}/ifb") is None) is (step == 0)


@pytest.mark.parametrize("ifb", ["nb7.1", ""])
def test_a_teardown_lets_frames_pass_before_their_ifb_goes(bench: Bench, ifb: str) -> None:
    bench.run("setup")
    bench.calls()
    for fails in ("", "*"):  # again, where nothing is left
        assert bench.run("teardown", fails=fails, REMUS_IFB=ifb) == 0
        assert bench.calls() == GONE
        assert bench.store.nodes() == []


@pytest.mark.parametrize("words", [[], ["setup!"], ["online"]])
def test_another_word_is_an_error(bench: Bench, words: list[str]) -> None:
    assert bench.run(*words) == 2
    assert bench.calls() == []


@pytest.mark.parametrize("missing", ["vifname", "XENBUS_PATH"])
def test_without_what_it_has_to_be_told_it_does_nothing(bench: Bench, missing: str) -> None:
    assert bench.run("setup", **{missing: ""}) != 0
    assert bench.calls() == []


def test_every_shell_reads_it() -> None:
    for shell in (["dash"], ["busybox", "sh"], ["bash"]):
        if shutil.which(shell[0]):
            assert subprocess.run([*shell, "-n", str(SAMPLE)]).returncode == 0


def test_it_can_be_run_as_it_is() -> None:
    assert os.access(SAMPLE, os.X_OK)
    assert SAMPLE.read_text().startswith("#!/bin/sh\n")
