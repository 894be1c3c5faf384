import argparse
import json
from pathlib import Path

import pytest

from remus_ha.lab.cli import build_parser, guest_spec, main
from remus_ha.lab.xlconfig import DiskSpec


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMUS_HA_RUN", str(tmp_path / "run"))
    monkeypatch.setenv("REMUS_HA_CACHE", str(tmp_path / "cache"))


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    found = [parser]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                found += parsers(sub)
    return found


def test_every_verb_has_help_with_an_example_that_parses() -> None:
    top = build_parser()
    for parser in parsers(top):
        epilog = parser.epilog or ""
        examples = [line.split("  ") for line in epilog.splitlines()[1:]]
        assert examples, parser.prog
        for words in examples:
            line = next(part for part in words if part)
            assert top.parse_args(line.split()[1:]).run, line


def test_no_lab_is_no_error_for_status_and_down(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "no lab is up\n"
    assert main(["status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert (status["up"], status["hosts"], status["witness"]) == (False, [], None)
    assert status["release"] is None


@pytest.mark.parametrize(
    "words",
    ["ssh a true", "push", "cut a", "boot a", "hang a", "unplug a repl", "load a", "guest list"],
)
def test_verbs_without_a_lab_say_what_to_run(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 1
    assert "LAB-06" in (said := capsys.readouterr().err)
    assert "remus-lab up" in said


def test_a_wrong_link_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unplug", "a", "disk"]) == 1
    assert "guest, repl, mgmt" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["up", "up --release trixie"])
def test_the_release_is_named_or_left_to_the_environment(words: str) -> None:
    args = build_parser().parse_args(words.split())
    assert args.release == ("trixie" if "trixie" in words else None)


def test_an_unknown_release_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main("up --release sid".split())
    assert "'bookworm', 'trixie'" in capsys.readouterr().err


def test_disks_of_a_guest() -> None:
    def disks(words: str) -> tuple[DiskSpec, ...]:
        return guest_spec(build_parser().parse_args(words.split())).disks

    assert disks("guest create web") == ()
    assert disks("guest create web --disks 2 --disk-mib 16") == (
        DiskSpec("xvda", 16),
        DiskSpec("xvdb", 16),
    )


def test_too_many_disks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("guest create web --disks 9".split()) == 1
    assert "0 to 8" in capsys.readouterr().err
