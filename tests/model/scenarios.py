"""The bounds of the exploration: how many of which accidents one run may combine."""

from dataclasses import dataclass

from tests.model.world import Budget


@dataclass(frozen=True)
class Scenario:
    """One exploration. ``full``: too long for every run, explored by ``make test-full``."""

    name: str
    budget: Budget
    full: bool = False

    def __str__(self) -> str:
        return self.name


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("two sessions", Budget(sessions=2)),
    Scenario("a process is killed", Budget(process_crashes=1)),
    Scenario("a host loses its power", Budget(host_crashes=1)),
    Scenario("a host, and the operator", Budget(host_crashes=1, operator=True)),
    Scenario("a restore fails", Budget(restore_failures=1)),
    Scenario("a plug fails", Budget(plug_failures=1)),
    Scenario("the guest ends, reboots or is unprotected", Budget(intents=1)),
    Scenario("planned failover", Budget(failovers=1)),
    Scenario("the store is rewound", Budget(rewinds=1)),
    Scenario("two hosts lose their power", Budget(host_crashes=2), full=True),
    Scenario("a process and a host", Budget(process_crashes=1, host_crashes=1), full=True),
    Scenario("two processes", Budget(process_crashes=2), full=True),
    Scenario("a restore and a host", Budget(restore_failures=1, host_crashes=1), full=True),
    Scenario("a restore and a process", Budget(restore_failures=1, process_crashes=1), full=True),
    Scenario("an end and a host", Budget(intents=1, host_crashes=1), full=True),
    Scenario("an end and a process", Budget(intents=1, process_crashes=1), full=True),
    Scenario("planned failover and a host", Budget(failovers=1, host_crashes=1), full=True),
    Scenario("two sessions and a host", Budget(sessions=2, host_crashes=1), full=True),
    Scenario("two sessions and a process", Budget(sessions=2, process_crashes=1), full=True),
    Scenario("two sessions and an end", Budget(sessions=2, intents=1), full=True),
)
