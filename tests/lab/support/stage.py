"""The lab as the stories share it: hosts reused, only a cut one powered on again."""

import itertools
from collections.abc import Sequence

from remus_ha.lab.cluster import Lab
from remus_ha.lab.control import GuestControl
from remus_ha.lab.host import Host
from remus_ha.lab.plan import GuestPlan, Link
from remus_ha.lab.xlconfig import GuestSpec, plain_disks
from tests.lab.support.leftovers import forget_results, state_of

WITNESS = "etcd://10.97.0.254:2379"
HOSTS = ("a", "b")
DISK_MIB = 16
# The standard guest keeps the totals of 64 clients; a story has three.
STORIES_PER_GUEST = 18
# Linux 6.1 loses a vif's receive buffers (1 MiB) at every restore, after ``xl migrate`` alike,
# and the guest has 16 MiB to lose.
MOVES_PER_GUEST = 3


class Guest:
    """A running standard guest and where it is."""

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

    @property
    def control(self) -> GuestControl:
        """Its control port."""
        return self._lab.guests.control(self.name)

    @property
    def other(self) -> str:
        """The host where it is not."""
        return next(name for name in HOSTS if name != self.host)


class Stage:
    """Hosts and at most one guest, handed from story to story."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._guest: Guest | None = None
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
            return kept
        self.drop_guest()
        where = on or "a"
        name = f"g{next(self._names)}"
        spec = GuestSpec(name=name, vifs=vifs, disks=plain_disks(disks, DISK_MIB))
        plan = self.lab.guests.create(spec, where)
        self._guest = Guest(self.lab, plan, where)
        return self._guest

    def moved(self, guest: Guest, host: str) -> None:
        """A failover has taken place."""
        guest.moves += host != guest.host
        guest.host = host

    def gone(self, guest: Guest) -> None:
        """It has ended: the next story gets a new one."""
        if self._guest is guest:
            self._guest = None

    def drop_guest(self) -> None:
        """End the guest and every domain that may be left of it."""
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
