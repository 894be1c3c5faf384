"""All protections of a host at a glance, and what they take of what it gives."""

import json
from pathlib import Path
from typing import Any

import pytest

from remus_ha import conf, rundir
from remus_ha.cmd import status
from remus_ha.cmd.remus_ha import main
from remus_ha.control_socket import NotRunning
from remus_ha.shares import Counter, Share

LIMITS = (
    "[backup]\nmemory_mib = 256\nkeep_free_mib = 64\n[replication]\nlink_mbit_s = 900\n"
)  # fmt: skip
RUNNING: dict[str, dict[str, Any]] = {
    "uuid-1": {"role": "primary", "name": "web1", "peer": "b", "state": "protected", "pid": 7},
    "uuid-2": {"role": "backup", "name": "web2", "peer": "b", "state": "protected", "pid": 8},
}


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two guests that run, one protection that has ended, and one that is only being arranged."""
    monkeypatch.setattr(rundir, "ROOT", tmp_path)
    monkeypatch.setattr(conf, "PATH", tmp_path / "remus-ha.conf")

    def ask(path: Path, uuid: str, request: dict[str, Any]) -> Any:
        if uuid in RUNNING:
            return RUNNING[uuid]
        raise NotRunning(uuid=uuid, detail="nobody")

    monkeypatch.setattr(status, "ask", ask)


def begin() -> None:
    rundir.write_json(rundir.directory("primary", "uuid-1") / "session.json", {"name": "web1"})
    rundir.write_json(rundir.directory("backup", "uuid-2") / "session.json", {})
    ended = {"role": "backup", "name": "db1", "state": "failed_over"}
    rundir.write_json(rundir.directory("backup", "uuid-3") / "result.json", ended)
    with Counter() as counter:
        assert counter.add(Share("primary", "uuid-1", "web1", "b", 0, 200))
        assert counter.add(Share("backup", "uuid-2", "web2", "b", 96 << 10, 100))
        assert counter.add(Share("primary", "uuid-4", "web4", "b", 0, 50))


def test_a_host_without_protections_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "no protections on this host\n"
    assert main(["status", "--limits"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "memory as a backup: 0 MiB",
        "replication link, out: not counted",
        "replication link, in: not counted",
    ]


def test_without_limits_only_the_protections_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    assert main(["status"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("web1: protected  epoch")
    assert rest == ["web2: protected (backup of b)", "db1: failed_over (backup)"]


def test_the_sums_stand_beside_their_limits(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    conf.PATH.write_text(LIMITS)
    assert main(["status"]) == 0
    shown = capsys.readouterr().out.splitlines()
    sums = [
        "memory as a backup: 96 of 256 MiB (web2 96); 64 MiB are kept free",
        "replication link, out: 250 of 900 Mbit/s (web1 200, web4 50)",
        "replication link, in: 100 of 900 Mbit/s (web2 100)",
    ]
    assert shown[-3:] == sums
    assert main(["status", "--limits"]) == 0
    assert capsys.readouterr().out.splitlines() == sums


def test_only_what_is_limited_is_worth_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    conf.PATH.write_text("[backup]\nmemory_mib = 0\n")
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "no protections on this host",
        "memory as a backup: 0 of 0 MiB",
    ]


def test_the_sums_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    conf.PATH.write_text(LIMITS)
    assert main(["status", "--limits", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["memory_mib"] == {"limit": 256, "keep_free": 64, "taken": 96}
    assert told["out_mbit_s"] == {"limit": 900, "taken": 250}
    assert told["in_mbit_s"] == {"limit": 900, "taken": 100}
    (first, *_) = told["shares"]
    assert first == {
        "role": "primary",
        "uuid": "uuid-1",
        "name": "web1",
        "peer": "b",
        "memory_mib": 0,
        "rate_mbit_s": 200,
    }


def test_the_list_as_json_is_of_protections_alone(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in told] == ["web1", "web2", "db1"]
