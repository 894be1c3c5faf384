"""The lab as the stories share it: hosts reused, only a cut one powered on again."""

import itertools
from collections.abc import Sequence

from remus_ha.lab.cluster import Lab
from remus_ha.lab.control import GuestControl
from remus_ha.lab.host import Host
from remus_ha.lab.plan import GuestPlan, Link
from remus_ha.lab.xlconfig import GuestSpec, plain_disks
from tests.lab.support.clients import Clients
from tests.lab.support.leftovers import forget_results, state_of
from tests.lab.support.outside import Outside
from tests.lab.support.wire import Wire

WITNESS = "etcd://10.97.0.254:2379"
HOSTS = ("a", "b")
DISK_MIB = 16
# The standard guest keeps the totals of 64 clients; a story has three.
STORIES_PER_GUEST = 18
# Linux 6.1 loses a vif's receive buffers (1 MiB) at every restore, after ``xl migrate`` alike,
# and the guest has 16 MiB to lose.
MOVES_PER_GUEST = 3


class Guest:
    """A running standard guest and where it is; only the stage makes and watches one."""

    outside: Outside

    def __init__(self, lab: Lab, plan: GuestPlan, host: str) -> None:
        self._lab, self.plan, self.host = lab, plan, host
        self.name = plan.name
        self.uuid = self.uuid_on(host)
        self.stories = 1
        self.moves = 0

    @property
    def is_worn(self) -> bool:
        """Whether the next story should have a new one."""
        return self.stories >= STORIES_PER_GUEST or self.moves >= MOVES_PER_GUEST

    def uuid_on(self, host: str) -> str:
        """Its UUID as ``host`` knows it; empty where it is not."""
        for line in self._lab.host(host).shell.text("xl vm-list").splitlines()[1:]:
            words = line.split()
            if words[-1] == self.name:
                return words[0]
        return ""

    def watch(self) -> None:
        """Begin to look on from outside."""
        self.outside = Outside(self._lab, self.plan, self.host)

    @property
    def clients(self) -> Clients:
        """Its outside clients."""
        return self.outside.clients

    @property
    def wire(self) -> Wire:
        """The wires' captures."""
        return self.outside.wire

    def moved(self, host: str) -> None:
        """It lives on ``host`` now."""
        if host != self.host:
            self.moves += 1
            self.outside.hosts.append(host)
        self.host = host

    @property
    def control(self) -> GuestControl:
        """Its control port."""
        return self._lab.guests.control(self.name)

    @property
    def other(self) -> str:
        """The host where it is not."""
        return next(name for name in HOSTS if name != self.host)


class Stage:
    """Hosts and at most one guest, handed from story to story; others are a story's own.

    Whatever guests a story gets are watched from outside until the story's end, or until it says
    that one has ended.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._guest: Guest | None = None
        self._watched: list[Guest] = []
        self._names = itertools.count(1)

    # -- hosts

    def host(self, name: str) -> Host:
        """A host by its name."""
        return self.lab.host(name)

    def ready(self) -> None:
        """Both hosts up, all cables in, nothing frozen, the witness serving."""
        for name in HOSTS:
            self.lab.boot(name)
            self.lab.unhang(name)
            for link in Link:
                self.lab.plug(name, link)
        self.lab.witness.start()

    # -- the guest

    def guest(self, *, vifs: int = 2, disks: int = 0, on: str = "", fresh: bool = False) -> Guest:
        """The running guest, a new one if there is none (or ``fresh``, or it is elsewhere)."""
        kept = self._guest
        fits = (
            kept is not None
            and (kept.plan.vifs, kept.plan.disks) == (vifs, disks)
            and on in ("", kept.host)
        )
        if kept is not None and fits and not fresh and not kept.is_worn:
            kept.stories += 1
            self._watch(kept)
            return kept
        self.drop_guest()
        where = on or "a"
        name = f"g{next(self._names)}"
        spec = GuestSpec(name=name, vifs=vifs, disks=plain_disks(disks, DISK_MIB))
        self._guest = self.create(spec, where)
        return self._guest

    def create(self, spec: GuestSpec, on: str) -> Guest:
        """A running guest of the story's own, which no other story gets."""
        guest = Guest(self.lab, self.lab.guests.create(spec, on), on)
        self._watch(guest)
        return guest

    def moved(self, guest: Guest, host: str) -> None:
        """A failover or a migration has taken place: from now on it is heard from ``host``."""
        guest.moved(host)

    def gone(self, guest: Guest) -> None:
        """It has ended: what it told is judged, and the next story gets a new one."""
        if self._guest is guest:
            self._guest = None
        self._judge(guest, alive=False)

    def begun_anew(self, guest: Guest) -> None:
        """It has rebooted: what it told before is judged, and its new life is watched.

        Its clients must have finished before: a new life knows nothing of what they were told.
        """
        self._judge(guest, alive=True)
        self._watch(guest)

    def drop_guest(self) -> None:
        """Judge the guest, end it and every domain that may be left of it."""
        self.judge()
        self._guest = None
        for name in {row.name.removesuffix("--incoming") for row in self.lab.guests.list()}:
            self.lab.guests.destroy(name)
        for name in HOSTS:
            if self.lab.host(name).running:
                # A host that has lost the guest keeps its MACs shut; the next one has them too.
                self.lab.host(name).shell.run(
                    "rm -rf /run/remus-ha/vif /var/lib/remus-ha/vif"
                    "; find /srv/guests -mindepth 1 -delete"
                )

    # -- from outside

    def is_watched(self, guest: Guest) -> bool:
        """Whether the outside will judge it."""
        return guest in self._watched

    def _watch(self, guest: Guest) -> None:
        if not self.is_watched(guest):
            guest.watch()
            self._watched.append(guest)

    def _judge(self, guest: Guest, *, alive: bool) -> None:
        if self.is_watched(guest):
            self._watched.remove(guest)
            guest.outside.judge(alive=alive)

    def judge(self) -> None:
        """The guests live and their story is over: judge what was told and heard of them."""
        while self._watched:
            self._judge(self._watched[0], alive=True)

    def abandon(self, error: BaseException | None = None) -> None:
        """The story has failed: look on no more."""
        while self._watched:
            self._watched.pop().outside.abandon(error)

    # -- between stories

    def leftovers(self) -> list[str]:
        """What either running host still has of a story, each with its host."""
        hosts = [self.lab.host(name) for name in HOSTS]
        return [
            f"{host.name}: {thing}"
            for host in hosts
            if host.running
            for thing in state_of(host).leftovers()
        ]

    def assert_clean(self) -> None:
        """Nothing is left over; then the results are forgotten too."""
        left = self.leftovers()
        assert not left, "left over: " + "; ".join(left)
        self.forget(HOSTS)

    def forget(self, hosts: Sequence[str]) -> None:
        """Remove the results of finished protections."""
        for name in hosts:
            if self.lab.host(name).running:
                forget_results(self.lab.host(name))

    def start_afresh(self) -> None:
        """After a story that failed: hosts without a memory of it."""
        self._guest = None
        for name in HOSTS:
            self.lab.cut(name)
        self.ready()
