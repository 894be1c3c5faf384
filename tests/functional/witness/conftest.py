from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha.witness import admin
from remus_ha.witness.etcd import EtcdWitness
from remus_ha.witness.memory import Memory
from tests.functional.witness.store import Etcd, running

Opener = Callable[..., EtcdWitness]


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """One member, initialised."""
    with running(Etcd(tmp_path)) as etcd:
        admin.initialise(etcd.url)
        yield etcd


@pytest.fixture
def open_witness(etcd: Etcd) -> Iterator[Opener]:
    """Opens drivers, on the etcd unless a URL is given, and closes them in the end."""
    opened: list[EtcdWitness] = []

    def opener(url: str | None = None, memory: Memory | None = None) -> EtcdWitness:
        opened.append(EtcdWitness(url or etcd.url, memory))
        return opened[-1]

    yield opener
    for witness in opened:
        witness.close()
