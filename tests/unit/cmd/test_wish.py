"""What the options ask for, and what is said of those that ask for nothing."""

from pathlib import Path

import pytest

from remus_ha.checkpoint.receiver import Receiver
from remus_ha.checkpoint.wish import Wish
from remus_ha.cmd.remus_ha import parser
from remus_ha.cmd.wish import remarks, wish_of


def wish(*options: str) -> Wish:
    words = ["protect", "--witness", "etcd://w", *options, "web1", "b"]
    return wish_of(parser(["protect"]).parse_args(words))


def said(*options: str) -> list[str]:
    return remarks(parser(["protect"]).parse_args(["protect", *options, "web1", "b"]))


def test_the_defaults_give_up_nothing() -> None:
    made = wish()
    assert made.refusals() == []
    assert (made.tls, made.port, made.minded, made.interval_ms) == ("required", 0, True, 200)
    assert said() == []


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["-p", "4000"], "port", 4000),
        (["--port", "65534"], "port", 65534),
        (["-e"], "minded", False),
        (["--no-backup"], "blackhole", True),
        (["-b"], "blackhole", True),
        (["--tls", "opportunistic"], "tls", "opportunistic"),
        (["-N", "/etc/netbuf"], "netbuf_script", "/etc/netbuf"),
        (["--netbufscript", "netbuf"], "netbuf_script", str(Path.cwd() / "netbuf")),
        (["-N", "netbuf", "-n"], "netbuf_script", ""),
        (["--rate", "100"], "rate_mbit_s", 100),
    ],
)
def test_an_option_is_a_wish(options: list[str], field: str, value: object) -> None:
    assert getattr(wish(*options), field) == value


@pytest.mark.parametrize("options", [["--tls", "disabled"], ["--no-backup"], ["-n"], ["-d"]])
def test_what_gives_up_part_of_the_protection_needs_force(options: list[str]) -> None:
    (refusal,) = wish(*options).refusals()
    assert refusal.code == "PROTECT-006"
    assert wish("-F", *options).refusals() == []


@pytest.mark.parametrize(
    "options", [["-p", "0"], ["-p", "65535"], ["--tls", "maybe"], ["--rate", "-1"]]
)
def test_nonsense_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        wish(*options)
    assert ended.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_script_for_what_is_not_done_is_said() -> None:
    (remark,) = said("-n", "-N", "/etc/netbuf")
    assert remark.startswith("--netbufscript: ")
    assert said("-N", "/etc/netbuf") == []


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("-u", "--no-compression: nothing is compressed"),
        ("--timer", "--timer: epochs begin by the clock"),
    ],
)
def test_what_changes_nothing_is_accepted_and_said(option: str, words: str) -> None:
    assert wish(option) == wish()
    (remark,) = said(option)
    assert remark.startswith(words)


def test_the_receiver_is_told_the_port() -> None:
    assert Receiver(wish("-p", "4000"))._command("--check")[-1] == (
        "remus-ha receive --port 4000 --check"
    )
    assert Receiver(wish())._command()[-1] == "remus-ha receive"
