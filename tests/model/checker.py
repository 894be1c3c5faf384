"""Exhaustive exploration of a bounded world, and the check that nothing stays stuck.

``explore`` visits every world that can be reached and stops at the first broken property, with the
shortest trace to it. ``stuck`` then looks at the whole graph: from every world some continuation
without further accidents must reach a settled one (exactly one copy lets its output out, or there
is no guest any more). Worlds are numbered; their parts are numbered too, so that a world is a
short tuple of small numbers.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from remus_ha.core import backup, primary
from tests.model.draft import Draft
from tests.model.moves import Kind, Moves
from tests.model.rules import BACKUP, PRIMARY, Numbers, Rules
from tests.model.world import HOSTS, Budget, Intent, World, first_world


@dataclass
class Counterexample:
    """A broken property and the shortest way to it."""

    violation: str
    trace: list[str]

    def __str__(self) -> str:
        steps = "\n".join(f"  {i:2}. {step}" for i, step in enumerate(self.trace, 1))
        return f"{self.violation}\n{steps}"


@dataclass
class Graph:
    """What was explored. ``edges`` are pairs of world numbers, per kind of move."""

    rules: Rules
    worlds: list[tuple[int, ...]] = field(default_factory=list)
    parents: "array[int]" = field(default_factory=lambda: array("q"))
    edges: "dict[Kind, array[int]]" = field(default_factory=lambda: {k: array("i") for k in Kind})
    counterexample: Counterexample | None = None
    _parts: list[Numbers] = field(default_factory=lambda: [Numbers() for _ in range(8)])
    _index: dict[tuple[int, ...], int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.worlds)

    def world(self, number: int) -> World:
        """The world of that number."""
        store, a, b, net, need, budget, intent, losses = (
            p.values[n] for p, n in zip(self._parts, self.worlds[number], strict=True)
        )
        return World(store, (a, b), net, need, budget, intent, losses)

    def add(self, world: World, parent: int) -> tuple[int, bool]:
        """The world's number, and whether it is new."""
        store, (a, b), net, need, budget, intent, losses = world
        parts = (store, a, b, net, need, budget, intent, losses)
        key = tuple([p.of(v) for p, v in zip(self._parts, parts, strict=True)])
        number = self._index.get(key)
        if number is not None:
            return number, False
        number = self._index[key] = len(self.worlds)
        self.worlds.append(key)
        self.parents.append(parent)
        return number, True

    def trace(self, number: int) -> list[str]:
        """The names of the moves of a shortest way to that world."""
        path = [number]
        while self.parents[path[-1]] >= 0:
            path.append(self.parents[path[-1]])
        path.reverse()
        return [self._name(a, b) for a, b in pairwise(path)]

    def _name(self, a: int, b: int) -> str:
        for step in Moves(self.rules).after(self.world(a)):
            if step.world is not None and self.add(step.world, a)[0] == b:
                return step.name
        raise AssertionError("a world is not reached from its parent")


def explore(rules: Rules, budget: Budget, at_most: int = 10_000_000) -> Graph:
    """Every world reachable from the first one, or as far as the first broken property."""
    graph, moves = Graph(rules), Moves(rules)
    graph.add(first_world(budget), -1)
    number = 0
    while number < len(graph.worlds):
        for step in moves.after(graph.world(number)):
            if step.world is None:
                assert step.violation is not None
                trace = [*graph.trace(number), step.name]
                graph.counterexample = Counterexample(step.violation, trace)
                return graph
            to, _ = graph.add(step.world, number)
            if to != number:
                graph.edges[step.kind].extend((number, to))
        number += 1
        assert number < at_most, "more worlds than the bound allows for"
    return graph


def stuck(graph: Graph, kinds: tuple[Kind, ...]) -> list[int]:
    """The worlds from which moves of ``kinds`` alone reach no settled one, nearest first."""
    into: list[list[int]] = [[] for _ in graph.worlds]
    for kind in kinds:
        edges = graph.edges[kind]
        for i in range(0, len(edges), 2):
            into[edges[i + 1]].append(edges[i])
    good = bytearray(len(graph))
    todo = [n for n in range(len(graph)) if settled(graph.rules, graph.world(n))]
    for n in todo:
        good[n] = 1
    while todo:
        for before in into[todo.pop()]:
            if not good[before]:
                good[before] = 1
                todo.append(before)
    return [n for n, ok in enumerate(good) if not ok]


def settled(rules: Rules, world: World) -> bool:
    """Exactly one copy lets its output out, or there is no guest to be had any more."""
    draft = Draft(rules, world)
    if not draft.somewhere() or _died_for_good(rules, world):
        return True
    if world.intent is Intent.STOPPED and not any(h.proc for h in world.hosts):
        return True
    return draft.emits(0) or draft.emits(1) or _in_session(world)


def _died_for_good(rules: Rules, world: World) -> bool:
    """Whether a sole holder has died, unprotected by definition, and is not back."""
    register = rules.registers.values[world.store.register]
    if not world.need.died or register is None or register.holder is None:
        return False
    return not world.hosts[HOSTS.index(register.holder.host)].up


def _in_session(world: World) -> bool:
    """Whether output leaves by acknowledgement: a primary in its pair and its backup."""
    states = {h.proc.role: h.proc for h in world.hosts if h.proc is not None}
    mine, theirs = states.get(PRIMARY), states.get(BACKUP)
    if mine is None or theirs is None or mine.session != theirs.session:
        return False
    up = mine.state is primary.State.PROTECTED and theirs.state is backup.State.STANDBY
    return up and not theirs.crashed


def holes(graph: Graph, numbers: list[int]) -> Iterator[tuple[int, bool]]:
    """For each stuck world whether it is the one known hole.

    The hole: the register names one host alone that is down for good and has not recorded that it
    opened, while the other keeps its copy paused, waiting.
    """
    for number in numbers:
        yield number, is_hole(graph.rules, graph.world(number))


def is_hole(rules: Rules, world: World) -> bool:
    """Whether the winner died between its winning swap and opening (W12)."""
    register = rules.registers.values[world.store.register]
    if register is None or register.holder is None or register.backup is not None:
        return False
    draft = Draft(rules, world)
    return not draft.alive(register.holder) and world.store.opened < register.generation
