"""Several guests at once, in both directions, and what a host gives to those of others."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from remus_ha.lab.host import Host
from remus_ha.lab.xlconfig import MEMORY_MIB, GuestSpec
from tests.lab.support.domains import paused_domain
from tests.lab.support.protection import PROTECT_S, Protection
from tests.lab.support.stage import WITNESS, Guest, Stage

CONF = "/etc/remus-ha/remus-ha.conf"
LINK, RATE = 1000, 400  # Mbit/s: two fit into a direction, and three into none
DETECT_MS = 6000  # three guests on a slow machine


@pytest.fixture
def three(stage: Stage) -> Iterator[list[Guest]]:
    """Two new guests on host a, one on b."""
    stage.drop_guest()
    yield [stage.create(GuestSpec(f"of{i}"), host) for i, host in enumerate(("a", "a", "b"))]
    stage.drop_guest()


@contextmanager
def _limited(host: Host) -> Iterator[None]:
    """It takes two guests of others, and its replication link is counted."""
    text = (
        f"[backup]\nmemory_mib = {2 * MEMORY_MIB}\nkeep_free_mib = 16\n"
        f"[replication]\nlink_mbit_s = {LINK}\n"
    )
    host.shell.run(f"mkdir -p $(dirname {CONF}) && cat >{CONF}", stdin=text.encode())
    try:
        yield
    finally:
        host.shell.run(f"rm {CONF}")


def _sums(host: Host) -> dict[str, int]:
    told: dict[str, Any] = json.loads(host.shell.text("remus-ha status --limits --json"))
    return {name: told[name]["taken"] for name in ("memory_mib", "out_mbit_s", "in_mbit_s")}


def _protected(stage: Stage, guests: list[Guest], stack: ExitStack) -> list[Protection]:
    """All of them, begun at the same moment."""
    options = ("--rate", str(RATE))
    made = [
        stack.enter_context(Protection(stage, guest, *options, detect_ms=DETECT_MS, start=False))
        for guest in guests
    ]
    commands = [stage.host(p.primary).shell.popen(p.command) for p in made]
    for command in commands:
        _, err = command.communicate(timeout=PROTECT_S)
        assert command.returncode == 0, err.decode(errors="replace")
    return made


def _obstacles(host: Host, words: str) -> str:
    """What ``remus-ha check`` has found, one reason a line."""
    command = f"remus-ha check --json --witness {WITNESS} {words}"
    done = host.shell.run(command, check=False)
    assert done.returncode == 1, done.stdout
    return "\n".join(e["cause"] for e in json.loads(done.stdout))


def test_three_guests_in_both_directions_and_no_fourth(stage: Stage, three: list[Guest]) -> None:
    """A power cut then takes the host of two of them, which is the backup of the third one."""
    here = stage.host("b")
    with _limited(here), ExitStack() as stack:
        first, second, own = _protected(stage, three, stack)
        for guest in three:
            guest.clients.wait_answers()
        taken = {"memory_mib": 2 * MEMORY_MIB, "out_mbit_s": RATE, "in_mbit_s": 2 * RATE}
        assert _sums(here) == taken
        with paused_domain(stage.host("a"), "fourth"):
            said = _obstacles(stage.host("a"), f"--rate {RATE} fourth b")
            for words in ("LIMIT-001", f"{2 * MEMORY_MIB} MiB are taken", "LIMIT-003", "of0 400"):
                assert words in said
            assert "LIMIT-004" in _obstacles(stage.host("a"), "fourth b")
        assert _sums(here) == taken, "whoever only asks takes nothing"
        stage.lab.cut("a")
        for p in (first, second):
            p.wait_failed_over()
        own.wait_alone()
        for guest in three:
            guest.clients.wait_answers()
        assert [p.status("b")["state"] for p in (first, second, own)] == [
            *("failed_over", "failed_over"),
            "degraded",
        ]
        assert set(_sums(here).values()) == {0}
