import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.lab.guest_image import compile_ledger
from remus_ha.lab.network import Network
from remus_ha.lab.plan import HostPlan, plan_hosts
from tests.functional.lab.native import NativeGuest


@pytest.fixture
def hosts() -> list[HostPlan]:
    return plan_hosts(2)


@pytest.fixture
def network(hosts: list[HostPlan]) -> Iterator[Network]:
    """The lab's network under a name of its own, without hosts."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    network = Network(f"remus-test-{uuid.uuid4().hex[:8]}")
    try:
        network.create(hosts)
        yield network
    finally:
        network.remove()


@pytest.fixture(scope="session")
def ledger_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("ledger") / "ledger"
    compile_ledger(program)
    return program


@pytest.fixture
def guest(network: Network, ledger_program: Path) -> Iterator[NativeGuest]:
    """The standard guest's program in the guests' network, without a guest around it."""
    with NativeGuest(network, ledger_program) as guest:
        yield guest
