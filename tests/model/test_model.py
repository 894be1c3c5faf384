"""The product's own tables, explored exhaustively within bounds: see ``tests/model/world.py``.

Properties, in every reachable world: never two copies whose new output reaches the outside; no
acknowledged and released epoch lost in the copy that lives on; a release by acknowledgement
implies that the backup holds the epoch and that the register says pair, none or the backup;
memory and disks of one epoch; a guest stopped on purpose stays stopped; a paired guest survives
any one crash; the last complete copy is never destroyed. And from every reachable world, once the
witness answers and accidents stop, a settled one can be reached.

``REMUS_HA_FULL=1`` adds the scenarios that combine accidents.
"""

import os
from collections.abc import Callable

import pytest

from tests.model.checker import explore, is_hole, stuck
from tests.model.draft import Draft
from tests.model.moves import Kind
from tests.model.rules import Rules
from tests.model.scenarios import SCENARIOS, Scenario

FULL = bool(os.environ.get("REMUS_HA_FULL"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_nothing_bad_happens_and_something_good_always_can(
    scenario: Scenario, say: Callable[[str], None]
) -> None:
    if scenario.full and not FULL:
        pytest.skip("one of the long scenarios: set REMUS_HA_FULL=1")
    graph = explore(Rules(), scenario.budget)
    moves = sum(len(e) // 2 for e in graph.edges.values())
    assert graph.counterexample is None, f"\n{graph.counterexample}"
    never_settled = stuck(graph, (Kind.SURE, Kind.RETURN))
    assert not never_settled, "\n".join(["stuck", *graph.trace(never_settled[0])])

    # Without the return of crashed hosts only W12's hole is left: the winner is dead for good,
    # has not written that it opened, and the other one keeps its copy for it.
    without_return = stuck(graph, (Kind.SURE,))
    for number in without_return:
        world = graph.world(number)
        assert is_hole(graph.rules, world), "\n".join(["stuck", *graph.trace(number)])
        assert Draft(graph.rules, world).somewhere()
    # The operator's word that the dead host is fenced closes it.
    if scenario.budget.operator:
        assert not stuck(graph, (Kind.SURE, Kind.OPERATOR))
    if scenario.budget.host_crashes:
        assert without_return, "the one known hole is not seen: the check has lost its eyes"
    say(f"{scenario}: {len(graph)} states, {moves} moves, {len(without_return)} in W12's hole")
