"""The stories' own judges: they find what they are there to find."""

import struct
import time

import pytest

from remus_ha.lab.cluster import Lab
from remus_ha.lab.pcap import Frame
from remus_ha.lab.plan import GuestPlan
from tests.lab.support import outside
from tests.lab.support.leftovers import parse
from tests.lab.support.output_commit import Moment, Seen, judge
from tests.lab.support.wire import Sighting, Wire, turns

pytestmark = pytest.mark.gate

MAC = bytes.fromhex("00163e000032")


def frame(seq: int, at_s: float = 0.0) -> Frame:
    record = struct.pack(">4sBBxxQQ", b"RHA1", 1, 0, seq, 10 * seq)
    return Frame(at_s, b"\xff" * 6 + MAC + b"\x08\x06" + bytes(28) + record)


def sightings(text: str) -> list[Sighting]:
    """Words such as ``a7``: host and chatter number, a tenth of a second apart."""
    words = enumerate(text.split())
    return [Sighting(word[0], frame(int(word[1:]), i / 10)) for i, word in words]


class TestTurns:
    @pytest.mark.parametrize(
        ("seen", "hosts"),
        [
            ("a1 a2 a3", "a"),
            ("a1 a2 a3 b3 b4 b5", "ab"),
            ("a1 a2 a3 b4 a3 b5", "ab"),  # a straggler of an epoch that both hold
            ("a1 a2 b3 b4 a5 a6", "aba"),
            ("a1 a2 b2 a3 b3 a4 b4", "ababab"),  # two living copies
        ],
    )
    def test_new_output_begins_a_turn(self, seen: str, hosts: str) -> None:
        assert "".join(turn.host for turn in turns(sightings(seen))) == hosts


class _Clients:
    """All is well with them; ``told`` is how they finished."""

    def __init__(self, *_: object) -> None:
        self.told: list[str] = []

    def __enter__(self) -> "_Clients":
        return self

    def __exit__(self, *_: object) -> None: ...

    def finish(self) -> None:
        self.told.append("finish")

    def finish_dead(self) -> None:
        self.told.append("finish_dead")


class _Wire(Wire):
    """Without a lab: it has seen what it is told."""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None: ...

    def saw(self, text: str) -> None:
        later = time.monotonic() + 60
        self._seen = [
            Sighting(s.host, Frame(later + s.frame.time_s, s.frame.data)) for s in sightings(text)
        ]


class TestOutside:
    @pytest.fixture(autouse=True)
    def without_a_lab(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outside, "Wire", _Wire)
        monkeypatch.setattr(outside, "Clients", _Clients)
        monkeypatch.setattr(outside, "HEARD_S", 0.1)

    @staticmethod
    def seeing(text: str, *hosts: str) -> outside.Outside:
        """Of a guest of one vif with the MAC of ``frame``, which a story says was there."""
        seeing = outside.Outside(Lab.__new__(Lab), GuestPlan("g1", 50), hosts[0])
        seeing.hosts += hosts[1:]
        assert isinstance(seeing.wire, _Wire)
        seeing.wire.saw(text)
        return seeing

    @pytest.mark.parametrize("hosts", ["a", "ab", "aba"])
    def test_who_is_heard_where_the_story_says_is_right(self, hosts: str) -> None:
        text = " ".join(f"{host}{10 * turn + n}" for turn, host in enumerate(hosts) for n in (1, 2))
        self.seeing(text, *hosts).judge()

    @pytest.mark.parametrize(
        ("text", "hosts"),
        [
            ("a1 a2 b3 b4", "a"),  # it moved, and nobody said so
            ("a1 b2 a3 b4", "ab"),  # two living copies
            ("b1 b2", "a"),
        ],
    )
    def test_another_emitter_is_found(self, text: str, hosts: str) -> None:
        seeing = self.seeing(text, *hosts)
        with pytest.raises((AssertionError, TimeoutError)):
            seeing.judge()
        with pytest.raises(AssertionError):
            self.seeing(text, *hosts).judge(alive=False)

    def test_one_that_is_not_heard_where_it_has_moved_to_is_found(self) -> None:
        with pytest.raises(TimeoutError):
            self.seeing("a1 a2", "a", "b").judge()

    @pytest.mark.parametrize(("alive", "told"), [(True, "finish"), (False, "finish_dead")])
    def test_the_clients_are_asked(self, *, alive: bool, told: str) -> None:
        seeing = self.seeing("a1", "a")
        seeing.judge(alive=alive)
        assert isinstance(seeing.clients, _Clients)
        assert seeing.clients.told == [told]


class TestOutputCommit:
    EPOCHS = tuple(Moment(n, resumed_s=float(n), acked_s=n + 0.3) for n in range(1, 6))

    @staticmethod
    def seen(*times_s: float) -> list[Seen]:
        return [Seen(at_s, frame(seq)) for seq, at_s in enumerate(times_s, 1)]

    def test_a_frame_may_leave_when_its_epoch_is_acknowledged(self) -> None:
        verdict = judge(self.seen(1.5, 2.5), self.seen(2.31, 3.31), self.EPOCHS)
        assert (verdict.judged, verdict.early, verdict.unknown) == ({"arp": 2}, [], 0)

    def test_a_frame_that_leaves_before_is_early(self) -> None:
        verdict = judge(self.seen(1.5), self.seen(2.29), self.EPOCHS)
        assert [(early.kind, early.n) for early in verdict.early] == [("arp", 2)]

    def test_the_release_of_the_epoch_before_is_early_too(self) -> None:
        verdict = judge(self.seen(2.1), self.seen(2.35), self.EPOCHS)
        assert [early.n for early in verdict.early] == [3]

    def test_a_frame_that_nobody_saw_coming_is_unknown(self) -> None:
        verdict = judge([], self.seen(2.0), self.EPOCHS)
        assert (verdict.judged, verdict.unknown) == ({}, 1)

    def test_frames_outside_the_observed_epochs_are_not_judged(self) -> None:
        verdict = judge(self.seen(0.5, 5.5), self.seen(0.6, 5.6), self.EPOCHS)
        assert (verdict.judged, verdict.early) == ({}, [])


# Of a host where a guest lives that was protected and is not any more.
CLEAN = """\
:links
xenbr0
vif7.0
:qdiscs
qdisc noqueue 0: dev lo root refcnt 2
:domains
g1                                           7    96     1     -b----      40.3
:log_dirty
:vifs
/local/domain/0/backend/vif/7/0/mac = "00:16:3e:00:00:32"
/local/domain/0/backend/vif/6/0/mac = "00:16:3e:00:00:33"
:records
/run/remus-ha/vif/00:16:3e:00:00:32:state=open
/var/lib/remus-ha/vif/00:16:3e:00:00:32:state=shut
/var/lib/remus-ha/vif/00:16:3e:00:00:33:state=shut
:files
/run/remus-ha/primary/17282758-d73e-451a-9701-05b7abc861ae/result.json
:processes
1 /sbin/init
"""


class TestLeftovers:
    def test_a_host_with_a_living_guest_is_clean(self) -> None:
        assert parse(CLEAN).leftovers() == []

    @pytest.mark.parametrize(
        ("there", "instead", "left"),
        [
            ("xenbr0", "rh1234", "link rh1234"),
            ("qdisc noqueue", "qdisc plug", "qdisc plug 0: dev lo root refcnt 2"),
            (":log_dirty\n", ":log_dirty\n7\n", "log-dirty mode of domain 7"),
            ("vif/00:16:3e:00:00:32:state=open", "x:state=open", "shut vif 00:16:3e:00:00:32"),
            ("state=open", "state=shut", "shut vif 00:16:3e:00:00:32"),
            ("result.json", "session.json", "session.json"),
            ("/sbin/init", "python3 -m remus_ha.receive", "remus_ha.receive"),
            ("-b----", "--p---", "domain that stands still g1"),
            ("-b----", "---s--", "domain that stands still g1"),
            ("-b----", "----c-", "domain that stands still g1"),
        ],
    )
    def test_what_is_left_is_named(self, there: str, instead: str, left: str) -> None:
        found = parse(CLEAN.replace(there, instead, 1)).leftovers()
        assert len(found) == 1
        assert left in found[0]
