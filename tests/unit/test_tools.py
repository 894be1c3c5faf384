"""The set-up scripts: what they find missing, what they say, how they fail."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of an ordinary user on a machine that has only git installed."""
    programs = {
        "dpkg-query": 'for last; do :; done; [ "$last" = git ] && printf installed',
        "id": "echo 1000",
        "apt-get": "echo must not run; exit 99",
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def missing(machine: dict[str, str], *profiles: str) -> list[str]:
    """The packages that setup-packages tells the user to install."""
    done = subprocess.run(
        [TOOLS / "setup-packages", *profiles], env=machine, capture_output=True, text=True
    )
    assert done.returncode == 1
    told, command = done.stderr.splitlines()
    assert command.startswith("run as root: apt-get install ")
    return told.removeprefix("missing Debian packages: ").split()


def test_without_root_the_missing_packages_are_named(machine: dict[str, str]) -> None:
    assert missing(machine) == ["python3-venv"]


def test_a_profile_adds_its_packages(machine: dict[str, str]) -> None:
    assert "qemu-system-x86" in missing(machine, "lab")
    assert "qemu-system-x86" not in missing(machine, "test")
    assert "etcd-server" in missing(machine, "test")
    assert missing(machine, "lab", "test").count("etcd-server") == 1


def step(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """``script`` as the long step ``work``, in a directory of its own."""
    command = [TOOLS / "step", "work", "sh", "-c", script]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=8)


def test_a_step_keeps_its_output_and_says_how_long_it_took(tmp_path: Path) -> None:
    done = step(tmp_path, "echo noise")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[  0 s] work: done"
    assert (tmp_path / "build/log/work.log").read_text(encoding="utf-8") == "noise\n"


def test_a_failed_step_shows_its_output_and_keeps_its_status(tmp_path: Path) -> None:
    done = step(tmp_path, "echo the reason; exit 7")
    assert done.returncode == 7
    assert "the reason" in done.stderr
    assert "failed with status 7" in done.stderr
