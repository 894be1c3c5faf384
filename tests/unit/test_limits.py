"""What is refused past a host's limits, with the numbers and who has the rest."""

import pytest

from remus_ha.exceptions import RemusError
from remus_ha.limits import OVERHEAD_KIB, Limits, link_obstacles, memory_obstacles
from remus_ha.shares import Share

MIB = 1024  # KiB
PLENTY = 1 << 30


def share(name: str, mib: int = 96, rate: int = 0, role: str = "backup") -> Share:
    return Share(role, f"uuid-{name}", name, "a", mib * MIB, rate)


TWO = [share("web1"), share("web2", 100)]


def codes(found: list[RemusError]) -> list[str]:
    return [e.code for e in found]


def test_without_limits_only_free_memory_counts() -> None:
    needed = 96 * MIB + OVERHEAD_KIB
    assert memory_obstacles(Limits(), share("new"), TWO, needed) == []
    assert codes(memory_obstacles(Limits(), share("new"), TWO, needed - 4)) == ["XEN-013"]
    assert link_obstacles(Limits(), share("new"), TWO) == []


@pytest.mark.parametrize(("limit", "fits"), [(292, True), (291, False), (196, False), (0, False)])
def test_the_memory_of_all_guests_together(limit: int, fits: bool) -> None:
    found = memory_obstacles(Limits(memory_mib=limit), share("new"), TWO, PLENTY)
    assert codes(found) == ([] if fits else ["LIMIT-001"])


def test_a_refusal_for_memory_says_who_has_it_and_what_to_do() -> None:
    (refused,) = memory_obstacles(Limits(memory_mib=256), share("new"), TWO, PLENTY)
    for part in ("gives 256 MiB", "196 MiB are taken (web1 96, web2 100)", "needs 96 MiB"):
        assert part in str(refused)
    for part in ("memory_mib of [backup]", "remus-ha.conf", "another backup", "unprotect"):
        assert part in refused.advice


def test_a_host_that_takes_nobody_has_nobody_to_name() -> None:
    (refused,) = memory_obstacles(Limits(memory_mib=0), share("new"), [], PLENTY)
    assert "0 MiB are taken. The" in str(refused)


def test_a_part_of_a_mib_is_one() -> None:
    new = Share("backup", "uuid", "new", "a", 96 * MIB + 4, 0)
    assert codes(memory_obstacles(Limits(memory_mib=96), new, [], PLENTY)) == ["LIMIT-001"]
    assert memory_obstacles(Limits(memory_mib=97), new, [], PLENTY) == []


@pytest.mark.parametrize(("kept", "code"), [(0, []), (100, []), (101, ["LIMIT-002"])])
def test_what_is_left_over_at_least(kept: int, code: list[str]) -> None:
    free = (96 + 100) * MIB + OVERHEAD_KIB
    found = memory_obstacles(Limits(keep_free_mib=kept), share("new"), [], free)
    assert codes(found) == code


def test_what_is_not_free_at_all_is_not_said_twice() -> None:
    assert codes(memory_obstacles(Limits(keep_free_mib=50), share("new"), [], 0)) == ["XEN-013"]


@pytest.mark.parametrize(("rate", "fits"), [(200, True), (201, False)])
@pytest.mark.parametrize("role", ["primary", "backup"])
def test_the_rates_of_one_direction_together(role: str, rate: int, fits: bool) -> None:
    others = [share("web1", rate=300, role=role), share("web2", rate=500, role=role)]
    limits = Limits(link_mbit_s=1000)
    found = link_obstacles(limits, share("new", rate=rate, role=role), others)
    assert codes(found) == ([] if fits else ["LIMIT-003"])


def test_a_refusal_for_the_link_says_who_has_it_and_what_to_do() -> None:
    others = [share("web1", rate=300), share("web2", rate=500)]
    (refused,) = link_obstacles(Limits(link_mbit_s=1000), share("new", rate=250), others)
    for part in ("carries 1000 Mbit/s into it", "800 are taken (web1 300, web2 500)", "wants 250"):
        assert part in str(refused)
    for part in ("--rate", "link_mbit_s of [replication]", "remus-ha.conf"):
        assert part in refused.advice


def test_on_a_counted_link_a_protection_without_a_rate_is_refused() -> None:
    others = [share("web1", rate=300, role="primary")]
    (refused,) = link_obstacles(Limits(link_mbit_s=1000), share("new", role="primary"), others)
    assert refused.code == "LIMIT-004"
    assert "of 1000 Mbit/s out of it 700 are left" in str(refused)
    assert "rate_mbit_s" in refused.advice


def test_one_that_began_without_a_rate_has_all_of_the_link() -> None:
    """The link was not counted then."""
    (refused,) = link_obstacles(Limits(link_mbit_s=1000), share("new", rate=1), [share("web1")])
    assert "1000 are taken (web1 no bound)" in str(refused)
