"""The streams that may leave a host together: real processes at once, and what ``check`` says."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha import conf, rundir, shares
from remus_ha.cmd.remus_ha import main
from remus_ha.hypervisor.errors import BridgeMissing
from remus_ha.receive.request import CHECKED, refusal
from tests.functional.checkpoint.test_check import bare, check, has, receiver

PROGRAM = """
import sys
from remus_ha.checkpoint import admission
from remus_ha.exceptions import RemusError
from remus_ha.shares import Share
number, rate = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
try:
    admission.admit(Share("primary", f"uuid-{number}", f"web{number}", "b", 0, int(rate)))
    print("admitted", flush=True)
except RemusError as e:
    print(e, flush=True)
sys.stdin.readline()
"""
LINK = "[replication]\nlink_mbit_s = 100\n"


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A host whose replication link is counted."""
    for name in ("ROOT", "STATE", "LOGS"):
        monkeypatch.setattr(rundir, name, tmp_path / name)
    monkeypatch.setattr(conf, "PATH", tmp_path / "remus-ha.conf")
    conf.PATH.write_text(LINK)
    return monkeypatch


class Fronts:
    """Front ends that wait for a word to go, and then until they are ended."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[str]] = []

    def start(self, number: int, rate: int) -> None:
        names = {"REMUS_HA_RUN_DIR": rundir.ROOT, "REMUS_HA_CONFIG": conf.PATH}
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(number), str(rate)],
            env={**os.environ, **{name: str(path) for name, path in names.items()}},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.all.append(child)
        assert self._line(child) == "ready"

    @staticmethod
    def _line(child: "subprocess.Popen[str]") -> str:
        assert child.stdout is not None
        return child.stdout.readline().strip()

    def answers(self) -> list[str]:
        for child in self.all:
            assert child.stdin is not None
            child.stdin.write("go\n")
        return [self._line(child) for child in self.all]

    def close(self) -> None:
        for child in self.all:
            child.kill()
            child.communicate()


@pytest.fixture
def fronts() -> Iterator[Fronts]:
    made = Fronts()
    yield made
    made.close()


def test_of_streams_that_begin_at_once_only_those_go_that_the_link_carries(fronts: Fronts) -> None:
    for number in range(5):
        fronts.start(number, 40)
    told = fronts.answers()
    refused = [answer for answer in told if answer != "admitted"]
    assert len(refused) == 3, told
    takers = ", ".join(f"{share.name} 40" for share in shares.living("primary"))
    assert {answer.split(":")[0] for answer in refused} == {"LIMIT-003"}
    assert all(f"80 are taken ({takers})" in answer for answer in refused)
    fronts.close()
    assert shares.living("primary") == []


def test_two_that_begin_to_protect_one_guest(fronts: Fronts) -> None:
    for _ in range(2):
        fronts.start(1, 40)
    admitted, refused = sorted(fronts.answers(), reverse=True)
    assert admitted == "admitted"
    assert refused.startswith("PROTECT-004")
    assert len(shares.living("primary")) == 1


@pytest.mark.parametrize(
    ("options", "codes"),
    [([], ["LIMIT-004"]), (["--rate", "101"], ["LIMIT-003"]), (["--rate", "100"], [])],
)
def test_check_refuses_as_protect_would(
    host: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    codes: list[str],
) -> None:
    has(host, bare())
    words = ["-F", "--witness", "none:", *options]
    assert check(capsys, receiver(tmp_path, CHECKED), *words) == codes
    assert shares.living("primary") == []
    if codes:
        assert main(["protect", *words, "-s", "", "web1", f"touch {tmp_path}/asked"]) == 1
        assert codes[0] in capsys.readouterr().err


def test_the_rate_of_the_configuration_is_that_of_all_without_one(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf.PATH.write_text(f"{LINK}rate_mbit_s = 101\n")
    has(host, bare())
    command = receiver(tmp_path, CHECKED)
    assert check(capsys, command, "-F") == ["LIMIT-003"]
    assert check(capsys, command, "-F", "--rate", "1") == []
    assert check(capsys, command, "-F", "--rate", "0") == ["LIMIT-004"]


def test_where_nothing_goes_out_nothing_is_counted(
    host: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, bare())
    assert check(capsys, "true", "-F", "-b") == []


def test_a_backup_that_refuses_leaves_the_share_free(
    host: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    has(host, bare())
    (tmp_path / "answer").write_bytes(refusal(BridgeMissing(bridge="xenbr0", vif="vif 0")))
    command = f"cat {tmp_path}/answer;:"
    assert main(["protect", "-F", "--rate", "100", "-s", "", "web1", command]) == 1
    assert "XEN-014" in capsys.readouterr().err
    assert shares.living("primary") == []
    assert list((rundir.ROOT / "primary").iterdir()) == []
