"""Every rule is needed: taken away, the same checker finds what is lost, and says how.

The whole way to the loss is printed with ``-s``.
"""

from collections.abc import Callable

import pytest

from tests.model.checker import Counterexample, explore, stuck
from tests.model.moves import Kind
from tests.model.mutations import MUTATIONS, STUCK, Mutation

RULES = [*(f"W{n}" for n in range(1, 13)), "keeper"]


def test_every_rule_is_taken_away_at_least_once() -> None:
    assert {m.rule for m in MUTATIONS} == set(RULES)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_without_the_rule_the_checker_finds_the_loss(
    mutation: Mutation, say: Callable[[str], None]
) -> None:
    found = _find(mutation)
    assert found is not None, "nothing is lost: the checker is blind to this rule"
    say(f"without {mutation}: {found.violation}, in {len(found.trace)} steps")
    print(f"\n{found}")
    assert mutation.found in found.violation


def _find(mutation: Mutation) -> Counterexample | None:
    graph = explore(mutation.rules(), mutation.budget)
    if graph.counterexample is not None:
        return graph.counterexample
    never_settled = stuck(graph, (Kind.SURE, Kind.RETURN))
    return Counterexample(STUCK, graph.trace(never_settled[0])) if never_settled else None
