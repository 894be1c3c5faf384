"""Another save of the same domain is noticed, our own is not."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.hypervisor.xen.savers import Savers
from remus_ha.waiting import readable

# They look at every process of this machine.
pytestmark = pytest.mark.xdist_group("savers")
SOURCE = "#include <unistd.h>\nint main(void) { pause(); return 0; }\n"
# A parent that is not this process: it prints the child's pid and waits for it.
PARENT = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:])
print(child.pid, flush=True)
sys.stdin.read()
child.kill()
child.wait()
"""


@pytest.fixture(name="helper", scope="module")
def _helper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("savers") / "libxl-save-helper"
    subprocess.run(["gcc", "-x", "c", "-o", path, "-"], input=SOURCE, text=True, check=True)
    return path


@pytest.fixture(name="savers")
def _savers(helper: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Savers]:
    monkeypatch.setenv("LIBXL_SAVE_HELPER", str(helper))
    savers = Savers("4.17")
    yield savers
    savers.close()


def arguments(helper: Path, domid: int) -> list[str]:
    return [str(helper), "--save-domain", "5", "-1", str(domid), "1", "184", "0"]


def noticed(savers: Savers) -> bool:
    return readable(savers, 5)


def test_a_save_by_somebody_else(savers: Savers, helper: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments(helper, 7)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    try:
        assert noticed(savers)
        savers.drain()
        parent.stdout.readline()  # the child has its own arguments from here on
        assert savers.seen() == {7}
    finally:
        parent.communicate()


def test_our_own_save_is_not_foreign(savers: Savers, helper: Path) -> None:
    child = subprocess.Popen(arguments(helper, 7))
    try:
        assert noticed(savers)
        savers.drain()
        assert not savers.seen()
    finally:
        child.kill()
        child.wait()


def test_nothing_started_nothing_noticed(savers: Savers) -> None:
    assert not readable(savers, 0.1)
    assert not savers.seen()
