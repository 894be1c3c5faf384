"""The command line: help, refusals with cause and remedy, exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    *("protect", "unprotect", "status", "check", "cleanup", "fenced", "tapdisk", "witness"),
    "receive",
)


def run(tmp_path: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "REMUS_HA_RUN_DIR": str(tmp_path / "run"),
        "REMUS_HA_LOG_DIR": str(tmp_path / "log"),
        "REMUS_HA_STATE_DIR": str(tmp_path / "state"),
        "REMUS_HA_CONFIG": str(tmp_path / "remus-ha.conf"),
    }
    return subprocess.run(
        [sys.executable, "-m", "remus_ha.cmd.remus_ha", *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_refused(done: subprocess.CompletedProcess[str], code: str) -> None:
    """Code and cause, the remedy on a line of its own, no traceback, status 1."""
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"remus-ha: {code}: ")
    assert lines[-1].startswith("  ")
    assert lines[-1].strip()
    assert "Traceback" not in done.stderr


def test_help_names_every_command_and_shows_examples(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"\n    {command}\s", done.stdout)
    assert "remus-ha protect --witness" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: remus-ha {command}")
    assert done.stderr == ""


@pytest.mark.parametrize("verb", ["init", "show", "incarnate"])
def test_every_verb_of_witness_has_help(tmp_path: Path, verb: str) -> None:
    assert run(tmp_path, "witness", verb, "--help").returncode == 0


def test_the_options_of_xl_remus_mean_the_same(tmp_path: Path) -> None:
    told = run(tmp_path, "protect", "--help").stdout
    for option in ("-i", "-s", "-F", "-N", "-n", "-d", "-b"):
        assert f"  {option}" in told


@pytest.mark.parametrize(
    "arguments",
    [(), ("nonsense",), ("protect",), ("protect", "web1"), ("protect", "-i", "x", "web1", "b"),
     ("protect", "-i", "-1", "web1", "b")],
)  # fmt: skip
def test_what_makes_no_sense_is_shown_the_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: remus-ha")


def test_without_a_witness_it_is_refused(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "protect", "web1", "b"), "WITNESS-004")


@pytest.mark.parametrize("option", ["-n", "-d", "-b"])
def test_what_gives_up_protection_needs_force(tmp_path: Path, option: str) -> None:
    done = run(tmp_path, "protect", "--witness", "etcd://127.0.0.1:1", option, "web1", "b")
    assert_refused(done, "PROTECT-006")
    assert option in done.stderr


@pytest.mark.parametrize("url", ["nonsense", "redis://127.0.0.1"])
def test_a_witness_that_is_none(tmp_path: Path, url: str) -> None:
    done = run(tmp_path, "protect", "--witness", url, "web1", "b")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "remus-ha.conf").write_text("no section here\n")
    done = run(tmp_path, "protect", "web1", "b")
    assert_refused(done, "REMUS-002")
    assert "remus-ha.conf" in done.stderr


def test_the_witness_of_the_configuration_is_used(tmp_path: Path) -> None:
    (tmp_path / "remus-ha.conf").write_text("[witness]\nurl = etcd://127.0.0.1:1\n")
    assert "WITNESS-004" not in run(tmp_path, "protect", "web1", "b").stderr


@pytest.mark.skipif(Path("/sys/hypervisor/version/major").exists(), reason="this is a dom0")
def test_without_xen_it_is_said(tmp_path: Path) -> None:
    done = run(tmp_path, "protect", "--witness", "etcd://127.0.0.1:1", "web1", "b")
    assert_refused(done, "XEN-001" if os.geteuid() == 0 else "XEN-011")


@pytest.mark.skipif(Path("/sys/hypervisor/version/major").exists(), reason="this is a dom0")
def test_check_says_the_same_as_json(tmp_path: Path) -> None:
    arguments = ("check", "--witness", "etcd://127.0.0.1:1", "web1", "b")
    done = run(tmp_path, *arguments, "--json")
    assert done.returncode == 1
    (obstacle,) = json.loads(done.stdout)
    assert set(obstacle) == {"code", "cause", "remedy"}
    plain = run(tmp_path, *arguments)
    assert plain.returncode == 1
    assert plain.stdout.splitlines()[0].startswith(obstacle["code"])


def test_unprotect_of_a_guest_that_is_not_protected(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "unprotect", "web1"), "PROTECT-007")


def test_the_operators_word_on_a_guest_that_is_not_held(tmp_path: Path) -> None:
    assert_refused(run(tmp_path, "fenced", "web1", "b"), "PROTECT-007")


def test_a_host_without_protections(tmp_path: Path) -> None:
    assert run(tmp_path, "status").stdout == "no protections on this host\n"
    assert json.loads(run(tmp_path, "status", "--json").stdout) == []


def test_an_ended_protection_is_shown_by_its_result(tmp_path: Path) -> None:
    ended = tmp_path / "run" / "primary" / "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"
    ended.mkdir(parents=True)
    (ended / "result.json").write_text('{"state": "stopped", "name": "web1"}')
    assert run(tmp_path, "status").stdout == "web1: stopped (primary)\n"
    (entry,) = json.loads(run(tmp_path, "status", "--json").stdout)
    assert (entry["role"], entry["state"], entry["pid"]) == ("primary", "stopped", None)


@pytest.mark.parametrize("line", ["", "\n", "hello\n", "{}\n", "[" * 5000 + "\n"])
def test_the_receiver_answers_rubbish_with_one_line(tmp_path: Path, line: str) -> None:
    done = run(tmp_path, "receive", stdin=line)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    answer = json.loads(done.stdout)
    assert answer["error"]["code"] == "RECV-001"
    assert answer["error"]["remedy"]


def test_the_version_is_one_line(tmp_path: Path) -> None:
    """What a remedy tells people to run by hand."""
    assert run(tmp_path, "--version").stdout.startswith("remus-ha ")
