"""The lab is up once per session; stories share its hosts and, where it lives on, a guest."""

import os
from collections.abc import Generator, Iterator

import pytest

from remus_ha.lab.cluster import Lab
from remus_ha.lab.progress import Progress
from tests.lab.support.stage import WITNESS, Stage

_HERE = os.path.dirname(__file__)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stories outside the gate run only when everything is asked for."""
    if os.environ.get("REMUS_HA_FULL") == "1":
        return
    skip = pytest.mark.skip(reason="not in the gate: REMUS_HA_FULL=1 (make test-full) runs it")
    for item in items:
        if str(item.path).startswith(_HERE) and item.get_closest_marker("gate") is None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with this checkout on its hosts; one that ran before is used and left running."""
    lab = Lab(progress=Progress(None))
    mine = not lab.is_up
    lab.up()
    try:
        lab.push()
        lab.ssh("a", ["remus-ha", "witness", "init", WITNESS])
        yield lab
    finally:
        if mine:
            lab.down()


@pytest.fixture(scope="session")
def shared_stage(lab: Lab) -> Iterator[Stage]:
    """What stories hand on."""
    stage = Stage(lab)
    stage.drop_guest()
    yield stage
    stage.drop_guest()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let fixtures see whether the story itself failed."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, None, None]:
    """A story that has passed is judged from outside before its fixtures take anything away."""
    stage = getattr(item, "funcargs", {}).get("stage")
    try:
        yield
    except BaseException as error:
        if stage is not None:
            stage.abandon(error)
        raise
    if stage is not None:
        stage.judge()


@pytest.fixture
def stage(shared_stage: Stage, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Hosts ready for a story; afterwards nothing of it may be left over."""
    shared_stage.ready()
    yield shared_stage
    shared_stage.abandon()  # only where a fixture has failed
    failed = request.node.stash.get(_FAILED, None)
    if failed is None:
        return  # interrupted: nothing follows
    if failed:
        shared_stage.start_afresh()
        return
    try:
        shared_stage.assert_clean()
    except BaseException:
        shared_stage.start_afresh()
        raise
