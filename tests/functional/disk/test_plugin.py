"""Processes of nbdkit that do not come up: what is told of them, and that nothing is left."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from remus_ha.disk import plugin
from remus_ha.disk.errors import StillStarting
from remus_ha.disk.store.launch import StoreDidNotStart, StoreRefused

PLUGIN = """
import os, time
def config(key, value): pass
def get_ready(): {deed}
def open(readonly): return 0
def get_size(handle): return 0
def pread(handle, buffer, offset, flags): pass
"""
Begin = Callable[[str], plugin.Starting]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Start a process that does ``deed`` where a store would take its image."""

    def begin(deed: str) -> plugin.Starting:
        path = tmp_path / "plugin.py"
        path.write_text(PLUGIN.format(deed=deed))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return plugin.begin(
                plugin.Plugin(path, StoreRefused, StoreDidNotStart),
                "xvda",
                setup={},
                file=tmp_path / "setup.json",
                listener=listener,
                log=tmp_path / "log",
            )

    return begin


def test_those_that_take_too_long_together_are_ended_together(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the receiver waits little longer than for one of them."""
    monkeypatch.setattr(plugin, "START_S", 3.0)
    began = time.monotonic()
    for starting in [begin("time.sleep(3600)"), begin("time.sleep(3600)")]:
        with pytest.raises(StillStarting, match=r"3 s.*/log") as told:
            starting.wait()
        assert "Install" not in str(told.value.advice)
        assert starting.process.returncode is not None
    assert time.monotonic() - began < 2 * plugin.START_S


def test_one_that_dies_without_a_word_leads_to_its_log(begin: Begin) -> None:
    with pytest.raises(StoreDidNotStart, match="said nothing") as told:
        begin("os._exit(3)").wait()
    assert told.value.advice.startswith("Look at the end of that log.")
