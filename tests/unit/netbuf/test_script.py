"""Calling the operator's script: by libxl's contract, in bounded time, never in the terminal's."""

import os
import time
from pathlib import Path

import pytest

from remus_ha.hypervisor.errors import CommandFailed
from remus_ha.hypervisor.xen.xenstore import Xenstore
from remus_ha.netbuf import precheck
from remus_ha.netbuf.errors import NetbufError, ScriptFailed, ScriptHung, ScriptNamesNoIfb
from remus_ha.netbuf.lease import LONGEST_SCRIPT
from remus_ha.netbuf.script import VifScript
from tests.functional.netbuf.played_xenstore import Files

NODE = "/libxl/7/remus/netbuf/1"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    made = Files(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    monkeypatch.delenv("REMUS_IFB", raising=False)
    return made


def script(tmp_path: Path, text: str) -> VifScript:
    path = tmp_path / "netbuf script"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return VifScript(str(path), "web0", 7, 1)


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


ECHO = 'echo "$# $* $vifname $XENBUS_PATH ${REMUS_IFB-none}"'
SETUP = 'xenstore-write "$XENBUS_PATH/ifb" ifb3 "$XENBUS_PATH/hotplug-status" connected'


def test_a_setup_is_called_as_libxl_does(tmp_path: Path, store: Files) -> None:
    told = tmp_path / "told"
    by = script(tmp_path, f"{ECHO} >{told}\n{SETUP}")
    assert by.setup(store.open(), soon()) == "ifb3"
    assert told.read_text() == f"1 setup web0 {NODE} none\n"


def test_a_teardown_is_told_the_ifb(tmp_path: Path, store: Files) -> None:
    told = tmp_path / "told"
    by = script(tmp_path, f"{ECHO} >{told}")
    by.teardown("ifb3", soon())
    assert told.read_text() == f"1 teardown web0 {NODE} ifb3\n"
    by.teardown("", soon())  # not known, after a setup that failed
    assert told.read_text() == f"1 teardown web0 {NODE} none\n"


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("exit 7", ScriptFailed, "status 7"),
        ("kill -9 $$", ScriptFailed, "status -9"),
        ("echo one; echo two >&2; exit 1", ScriptFailed, "web0: two"),
        (f"{SETUP}; xenstore-write $XENBUS_PATH/hotplug-error full", ScriptFailed, "web0: full"),
        ("xenstore-write $XENBUS_PATH/hotplug-error full; echo x; exit 1", ScriptFailed, "full"),
        ("exit 0", ScriptNamesNoIfb, "without writing"),
    ],
)
def test_what_a_script_says_is_told(
    tmp_path: Path, store: Files, text: str, error: type[NetbufError], told: str
) -> None:
    with pytest.raises(error) as failed:
        script(tmp_path, text).setup(store.open(), soon())
    assert told in str(failed.value)
    assert f"vifname=web0 XENBUS_PATH={NODE} '{tmp_path}/netbuf script' setup" in (
        failed.value.advice
    )


def test_answers_of_an_earlier_call_do_not_count(tmp_path: Path, store: Files) -> None:
    store.write(f"{NODE}/hotplug-error", "full")
    assert script(tmp_path, SETUP).setup(store.open(), soon()) == "ifb3"
    with pytest.raises(ScriptNamesNoIfb):
        script(tmp_path, "true").setup(store.open(), soon())


def test_a_script_that_does_not_end_is_killed(tmp_path: Path, store: Files) -> None:
    with pytest.raises(ScriptHung) as hung:
        script(tmp_path, "sleep 600").setup(store.open(), soon(0.2))
    assert "the setup of" in str(hung.value)
    with pytest.raises(ScriptHung):
        script(tmp_path, SETUP).setup(store.open(), soon(-1))  # no time is left for it


def test_whoever_it_leaves_in_the_background_is_not_waited_for(
    tmp_path: Path, store: Files
) -> None:
    pid = tmp_path / "pid"
    by = script(tmp_path, f"sleep 600 &\necho $! >{pid}\n{SETUP}")
    started = time.monotonic()
    try:
        assert by.setup(store.open(), soon(300)) == "ifb3"
        assert time.monotonic() - started < 250
    finally:
        os.kill(int(pid.read_text()), 9)


@pytest.mark.parametrize("text", [None, ""])
def test_a_file_that_cannot_be_run(tmp_path: Path, store: Files, text: str | None) -> None:
    by = VifScript(str(tmp_path / "script"), "web0", 7, 1)
    if text is not None:
        Path(by.path).write_text(text)
    with pytest.raises(ScriptFailed):
        by.setup(store.open(), soon())


class Broken:
    """A xenstore that refuses everything."""

    def read(self, _transaction: str, path: str) -> bytes:
        raise ValueError(path)

    rm = read


def test_a_xenstore_that_refuses_is_an_error_that_names_the_node() -> None:
    broken = Xenstore(Broken(), ValueError)
    for call in (broken.read, broken.remove):
        with pytest.raises(CommandFailed) as failed:
            call("/libxl/7")
        assert "/libxl/7" in str(failed.value)


def why(path: Path) -> list[str]:
    """What a look at it tells before anything is done."""
    return [str(e) for e in precheck._script_obstacles(str(path))]


def test_what_shows_before_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "script"
    assert "does not exist" in why(path)[0]
    path.write_text("")
    if os.geteuid() == 0:  # for whom a file needs one such bit at least
        assert "is not executable" in why(path)[0]
    path.chmod(0o755)
    assert why(path) == []
    assert "is no file" in why(tmp_path)[0]
    long = tmp_path / ("x" * LONGEST_SCRIPT)
    path.rename(long)
    (told,) = precheck._script_obstacles(str(long))
    assert (told.code, "too long" in str(told)) == ("NETBUF-013", True)
    assert str(LONGEST_SCRIPT) in told.advice
