"""A stream's share of the link lives and dies with its guardian and process, not the front end."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from remus_ha import conf, rundir, shares
from remus_ha.checkpoint.arrange import NOWHERE
from tests.functional.checkpoint.pair import Pair
from tests.functional.listed import kill, pids

GUARDIAN, PROCESS = "remus_ha.checkpoint.guardian", "remus_ha.checkpoint"
DEADLINE_S = 60.0
# The front end, whose guardian starts a process that does nothing but live.
PROGRAM = """
import os, signal, sys, time
from types import SimpleNamespace
from remus_ha import rundir
from remus_ha.caretaker import start_loaded
from remus_ha.checkpoint import __main__ as process, admission, guardian
from remus_ha.shares import Share

def prepare(uuid, link, *, restart):
    rundir.write_json(rundir.directory("primary", uuid) / "begun", {})
    return SimpleNamespace(run=signal.pause)

process.prepare = prepare
(uuid,) = sys.argv[1:]
admission.admit(Share("primary", uuid, "web1", "b", 0, 10))
log = os.open(os.devnull, os.O_WRONLY)
start_loaded(
    "remus_ha.checkpoint.guardian", [uuid], lambda w: guardian.main(w, process.main), log
)
begun = rundir.directory("primary", uuid) / "begun"
while not begun.exists():
    time.sleep(0.02)
"""


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The UUID of a guest whose front end has ended, detached."""
    pair = Pair(monkeypatch)
    monkeypatch.setattr(conf, "PATH", pair.root / "remus-ha.conf")
    made = str(uuid.uuid4())
    replace(pair._session(NOWHERE), uuid=made).save()
    names = {"RUN": rundir.ROOT, "STATE": rundir.STATE, "LOG": rundir.LOGS}
    environment = {f"REMUS_HA_{name}_DIR": str(path) for name, path in names.items()}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, made],
        env={**os.environ, **environment, "REMUS_HA_CONFIG": str(conf.PATH)},
        check=True,
        timeout=DEADLINE_S,
    )
    yield made
    for _ in range(2):  # one that was being started again
        for module in (GUARDIAN, PROCESS):
            for pid in pids(module, made):
                kill(pid)
    pair.close()


@pytest.mark.parametrize(("first", "second"), [(GUARDIAN, PROCESS), (PROCESS, GUARDIAN)])
def test_it_counts_until_both_have_died(session: str, first: str, second: str) -> None:
    (share,) = shares.living("primary")
    assert share.uuid == session
    for pid in pids(first, session):
        kill(pid)
    assert shares.living("primary") == [share]
    until = time.monotonic() + DEADLINE_S
    while shares.living("primary"):  # whoever the guardian has just started has no Xen
        for pid in pids(second, session):
            kill(pid)
        assert time.monotonic() < until
        time.sleep(0.05)
