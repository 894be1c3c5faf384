"""What becomes of swaps when the store, or the way to it, fails."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from remus_ha.witness import admin
from remus_ha.witness.base import Swap
from remus_ha.witness.errors import (
    WitnessNotInitialised,
    WitnessRewound,
    WitnessUnavailable,
)
from remus_ha.witness.etcd import EtcdWitness
from remus_ha.witness.memory import Memory
from tests.functional.witness.conftest import Opener
from tests.functional.witness.guest import BACKUP, UUID, pair, sole
from tests.functional.witness.proxy import Mode, Proxy
from tests.functional.witness.store import Etcd, cluster

T = 10.0  # a loaded machine may take long to sync a disk
SLACK_S = 0.75  # what a loaded machine may add to a bound


def race(url: str, contenders: int, last: int) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.functional.witness.contender", url]
    return [
        subprocess.Popen([*command, f"host{n}", str(last)], stdout=subprocess.PIPE, text=True)
        for n in range(contenders)
    ]


def winners(racers: list[subprocess.Popen[str]]) -> tuple[dict[int, int], set[int]]:
    """How many were told to have won each generation, and the generations with lost answers."""
    told: dict[int, int] = {}
    unknown: set[int] = set()
    refused = 0
    for racer in racers:
        out, _ = racer.communicate(timeout=90)
        assert racer.returncode == 0
        result = json.loads(out)
        unknown.update(result["unknown"])
        refused += result["refused"]
        for generation in result["won"]:
            told[generation] = told.get(generation, 0) + 1
    assert refused, "nobody contended"
    return told, unknown


def reach(witness: EtcdWitness, generation: int) -> None:
    """Wait until a race has come so far."""
    reading = witness.wait_change(UUID, None, T)
    while reading.register is None or reading.register.generation < generation:
        reading = witness.wait_change(UUID, reading, T)


def test_exactly_one_of_many_processes_wins_each_generation(etcd: Etcd) -> None:
    racers = race(etcd.url, contenders=4, last=150)
    told, unknown = winners(racers)
    assert not unknown
    assert told == dict.fromkeys(range(1, 151), 1)


def test_no_acknowledged_swap_is_lost_when_the_store_is_killed_during_a_race(
    etcd: Etcd, open_witness: Opener
) -> None:
    racers = race(etcd.url, contenders=3, last=800)
    watcher = open_witness()
    for target in (100, 300, 500):
        reach(watcher, target)
        etcd.kill()
        etcd.start()
    told, unknown = winners(racers)
    final = open_witness().read(UUID, T).register
    assert final is not None
    assert final.generation == max(told | dict.fromkeys(unknown, 1)) >= 800
    assert set(told.values()) == {1}
    assert set(range(1, final.generation + 1)) - set(told) <= unknown
    assert unknown, "no swap was under way when the store was killed"


def test_a_race_goes_on_when_the_leader_of_a_cluster_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path, ("a", "b", "c")) as members:
        url = "etcd://" + ",".join(f"127.0.0.1:{m.port}" for m in members) + "/test"
        admin.initialise(url)
        racers = race(url, contenders=2, last=250)
        reach(EtcdWitness(url), 50)
        status = json.loads(members[0].ctl("endpoint", "status", "-w", "json"))[0]["Status"]
        ids = {m.name: json.loads(m.ctl("endpoint", "status", "-w", "json")) for m in members}
        (leader,) = (
            m for m in members
            if ids[m.name][0]["Status"]["header"]["member_id"] == status["leader"]
        )  # fmt: skip
        leader.kill()
        told, unknown = winners(racers)
    assert set(told.values()) == {1}
    assert set(range(1, max(told) + 1)) - set(told) <= unknown


def test_a_dead_store_is_reported_at_once(etcd: Etcd, open_witness: Opener) -> None:
    witness = open_witness()
    witness.connect(T)
    etcd.kill()
    start = time.monotonic()
    with pytest.raises(WitnessUnavailable) as caught:
        witness.swap(UUID, None, sole(1), 5)
    assert time.monotonic() - start < SLACK_S
    assert str(etcd.port) in str(caught.value)


@pytest.mark.parametrize("warm", [True, False])
def test_a_hung_store_costs_the_budget_and_no_more(
    etcd: Etcd, open_witness: Opener, warm: bool
) -> None:
    witness = open_witness()
    if warm:
        witness.connect(T)
    etcd.freeze()
    for call in (
        lambda: witness.read(UUID, 0.5),
        lambda: witness.swap(UUID, None, sole(1), 0.5),
        lambda: witness.record_opened(UUID, 1, 0.5),
        lambda: witness.wait_change(UUID, None, 0.5),
    ):
        start = time.monotonic()
        with pytest.raises(WitnessUnavailable):
            call()
        assert 0.45 < time.monotonic() - start < 0.5 + SLACK_S
    etcd.thaw()
    assert witness.swap(UUID, None, sole(1), T) is Swap.WON


def test_a_swap_left_in_a_hung_store_is_won_when_asked_again(
    etcd: Etcd, open_witness: Opener
) -> None:
    witness = open_witness()
    witness.connect(T)
    etcd.freeze()
    with pytest.raises(WitnessUnavailable):
        witness.swap(UUID, None, sole(1), 0.3)
    etcd.thaw()
    assert witness.swap(UUID, None, sole(1), T) is Swap.WON
    assert witness.read(UUID, T).register == sole(1)


@pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
def test_a_lost_reply_is_no_answer_and_the_same_swap_again_is_won(
    etcd: Etcd, open_witness: Opener, mode: Mode
) -> None:
    with Proxy(etcd.port) as proxy:
        witness = open_witness(proxy.url)
        witness.connect(T)
        sent = proxy.requests
        proxy.mode = mode
        with pytest.raises(WitnessUnavailable):
            witness.swap(UUID, None, sole(1), 0.5)
        assert proxy.requests == sent + 1, "the driver sent it again by itself"
        watcher = open_witness()
        seen = watcher.read(UUID, T)
        if seen.register is None:  # the store is slow to sync its disk
            seen = watcher.wait_change(UUID, seen, T)
        assert seen.register == sole(1), "it did take place"
        proxy.mode = Mode.PASS
        assert witness.swap(UUID, None, sole(1), T) is Swap.WON


def test_a_lost_reply_to_a_lost_race_is_told_when_asked_again(
    etcd: Etcd, open_witness: Opener
) -> None:
    open_witness().swap(UUID, None, pair(1), T)
    with Proxy(etcd.port) as proxy:
        witness = open_witness(proxy.url)
        witness.connect(T)
        open_witness().swap(UUID, pair(1), sole(2, BACKUP), T)
        proxy.mode = Mode.SWALLOW
        with pytest.raises(WitnessUnavailable):
            witness.swap(UUID, pair(1), sole(2), 0.5)
        proxy.mode = Mode.PASS
        assert witness.swap(UUID, pair(1), sole(2), T) is Swap.REFUSED


def test_a_read_over_a_kept_connection_that_died_is_asked_again(
    etcd: Etcd, open_witness: Opener
) -> None:
    with Proxy(etcd.port) as proxy:
        witness = open_witness(proxy.url)
        witness.connect(T)
        proxy.mode = Mode.CUT
        sent = proxy.requests
        assert witness.read(UUID, T).register is None
        assert proxy.requests == sent + 3, (
            "the read, and on a new connection the hello and the read"
        )


def test_a_swap_after_a_restart_finds_a_fresh_connection(etcd: Etcd, open_witness: Opener) -> None:
    witness = open_witness()
    witness.connect(T)
    etcd.kill()
    etcd.start()
    assert witness.swap(UUID, None, sole(1), T) is Swap.WON


class TestRewound:
    def test_a_wiped_store_wins_nobody_anything(self, etcd: Etcd, open_witness: Opener) -> None:
        known = open_witness()
        known.swap(UUID, None, pair(1), T)
        etcd.kill()
        etcd.wipe()
        etcd.start()
        for old in (None, pair(1)):
            with pytest.raises(WitnessRewound):
                known.swap(UUID, old, sole(2), T)
            with pytest.raises(WitnessNotInitialised):
                open_witness().swap(UUID, old, sole(2), T)
        with pytest.raises(WitnessRewound):
            known.record_opened(UUID, 2, T)
        assert etcd.ctl("get", "--prefix", "/test") == ""

    def test_initialising_a_wiped_store_does_not_deceive_who_knew_it(
        self, etcd: Etcd, open_witness: Opener
    ) -> None:
        known = open_witness()
        known.swap(UUID, None, pair(1), T)
        etcd.kill()
        etcd.wipe()
        etcd.start()
        admin.initialise(etcd.url)
        with pytest.raises(WitnessRewound):
            known.swap(UUID, None, sole(2), T)
        assert open_witness().read(UUID, T).register is None

    @pytest.mark.parametrize("token", ["etcd-cluster", "another"])
    def test_a_store_restored_from_a_snapshot_takes_no_swap(
        self, etcd: Etcd, open_witness: Opener, tmp_path: Path, token: str
    ) -> None:
        """With etcd's default token the cluster keeps its id: the revision gives it away."""
        known = open_witness()
        known.swap(UUID, None, pair(1), T)
        etcd.ctl("snapshot", "save", str(tmp_path / "snapshot"))
        assert open_witness().swap(UUID, pair(1), sole(2, BACKUP), T) is Swap.WON
        assert known.read(UUID, T).register == sole(2, BACKUP)
        etcd.kill()
        etcd.restore(tmp_path / "snapshot", token)
        etcd.start()
        with pytest.raises(WitnessRewound):
            known.swap(UUID, pair(1), sole(2), T)
        assert open_witness().read(UUID, T).register == pair(1), "the swap must not get there"

    def test_distrust_outlives_the_process_and_the_missing_revisions(
        self, etcd: Etcd, open_witness: Opener, tmp_path: Path
    ) -> None:
        known = open_witness()
        known.swap(UUID, None, pair(1), T)
        etcd.ctl("snapshot", "save", str(tmp_path / "snapshot"))
        known.record_opened(UUID, 1, T)
        assert known.memory is not None
        before = Memory.decode(known.memory.encode())
        etcd.kill()
        etcd.restore(tmp_path / "snapshot", "etcd-cluster")
        etcd.start()
        successor = open_witness(memory=before)
        with pytest.raises(WitnessRewound) as caught:
            successor.read(UUID, T)
        assert f"{before.revision} was seen" in str(caught.value)
        for generation in range(2, 12):
            open_witness().record_opened(UUID, generation, T)
        assert successor.memory is not None
        for witness in (successor, open_witness(memory=successor.memory)):
            with pytest.raises(WitnessRewound):
                witness.swap(UUID, pair(1), sole(2), T)

    def test_a_new_incarnation_stops_everybody_who_knew_the_old_one(
        self, etcd: Etcd, open_witness: Opener
    ) -> None:
        known = open_witness()
        known.swap(UUID, None, pair(1), T)
        first = admin.inspect(etcd.url).incarnation
        changed = admin.new_incarnation(etcd.url)
        assert (changed.before, changed.before != changed.after) == (first, True)
        with pytest.raises(WitnessRewound):
            known.swap(UUID, pair(1), sole(2), T)
        fresh = open_witness()
        assert fresh.read(UUID, T).incarnation == changed.after
        assert fresh.swap(UUID, pair(1), sole(2), T) is Swap.WON

    def test_the_incarnation_is_compared_by_the_swap_itself(
        self, etcd: Etcd, open_witness: Opener
    ) -> None:
        """The connection stays up, so nothing but the transaction can notice."""
        known = open_witness()
        known.swap(UUID, None, pair(1), T)
        admin.new_incarnation(etcd.url)
        with pytest.raises(WitnessRewound):
            known.swap(UUID, pair(1), sole(2), T)
        assert open_witness().read(UUID, T).register == pair(1)
