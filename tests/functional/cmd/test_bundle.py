"""The bundle holds what is needed, and nothing that is secret."""

import json
import stat
import tarfile
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.cmd import bundle
from remus_ha.cmd.remus_ha import main

SECRET = "c0ffee" * 8
UUID = "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"


@pytest.fixture(name="here", autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ROOT", "STATE", "LOGS"):
        monkeypatch.setattr(rundir, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    monkeypatch.setattr(bundle, "COMMANDS", ("echo password=hunter2", "no-such-command", "sleep 9"))
    monkeypatch.setattr(bundle, "COMMAND_S", 0.5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def session() -> None:
    directory = rundir.directory("backup", UUID)
    directory.mkdir(parents=True)
    request = {"guest_name": "web1", "disk_key": SECRET, "config": {"vnc": {"passwd": SECRET}}}
    request["witness"] = f"etcd://root:{SECRET}@10.0.0.9:2379"
    (directory / "session.json").write_text(json.dumps({"request": request}))
    (directory / "key").write_text(SECRET)
    (directory / "tls").mkdir()
    (directory / "tls" / "keys.psk").write_text(SECRET)
    (rundir.LOGS / f"backup-{UUID}.log").write_text("the end of the story\n")


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {}
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            found[member.name.partition("/")[2]] = file.read().decode()
        return found


def test_it_holds_the_story_and_no_secret(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session()
    assert main(["bundle"]) == 0
    (path,) = here.glob("remus-ha-*.tar.gz")
    assert capsys.readouterr().out.strip() == path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = contents(path)
    assert not [name for name, text in found.items() if SECRET in text or "hunter2" in text]
    told = json.loads(found[f"run/backup/{UUID}/session.json"])["request"]
    assert told["guest_name"] == "web1"
    assert told["disk_key"] == bundle.HIDDEN
    assert told["witness"] == f"etcd://{bundle.HIDDEN}@10.0.0.9:2379"
    assert found[f"log/backup-{UUID}.log"] == "the end of the story\n"
    assert found["commands/echo-password-hunter2"] == f"password={bundle.HIDDEN}\n"
    assert "no-such-command" in found["commands/no-such-command"]
    assert "timed out" in found["commands/sleep-9"]
    assert json.loads(found["status.json"])[0]["uuid"] == UUID


def test_of_a_long_log_it_holds_the_end(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LOG_OCTETS", 10)
    (rundir.LOGS / "primary.log").write_text("x" * 100 + "the end")
    assert main(["bundle", "-o", "here.tar.gz"]) == 0
    assert contents(here / "here.tar.gz")["log/primary.log"] == "xxxthe end"


def test_where_it_cannot_be_written_nothing_is_left(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle", "-o", "nowhere/here.tar.gz"]) == 1
    assert "PROTECT-035" in capsys.readouterr().err
    assert not list(here.glob(".*partial"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vncpasswd = 'abc'", "vncpasswd = (hidden)"),
        ('vncpasswd="a b"', "vncpasswd=(hidden)"),
        ('"passwd": "abc", "x": 1', '"passwd": (hidden), "x": 1'),
        ("etcd://u:p@ss@h:2379/x", "etcd://(hidden)@h:2379/x"),
        ("http://10.0.0.9:2379/v3", "http://10.0.0.9:2379/v3"),
        ("no password here", "no password here"),
    ],
)
def test_what_is_hidden_in_text(text: str, shown: str) -> None:
    assert bundle.hidden(text) == shown


def test_empty_secrets_are_told_apart() -> None:
    assert bundle.without_secrets([{"key": "", "pem": "x", "keys": 1}]) == [
        {"key": "", "pem": bundle.HIDDEN, "keys": 1}
    ]
