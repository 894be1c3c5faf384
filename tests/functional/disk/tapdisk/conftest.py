"""Two hosts for the tests of the daemons."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemons import Hosts, Pair


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    made = Hosts()
    yield made
    made.end()


@pytest.fixture
def pair(hosts: Hosts, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(hosts, tmp_path)
    yield made
    made.end()


@pytest.fixture
def nbd_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name; what it was asked to do."""
    program, asked = tmp_path / "bin" / "nbd-client", tmp_path / "asked"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{asked}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/sbin:/usr/bin:/sbin:/bin")
    return asked
