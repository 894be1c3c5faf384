"""Two hosts for the tests of the daemons."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .daemons import Hosts, KernelsDriver, Pair


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
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KernelsDriver]:
    made = KernelsDriver(tmp_path / "kernel", monkeypatch)
    yield made
    made.end()
