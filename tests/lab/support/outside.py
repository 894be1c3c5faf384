"""What the outside sees of one guest in one story: its clients, and who is heard on the wire."""

import time
from contextlib import ExitStack

from remus_ha.lab.cluster import Lab
from remus_ha.lab.plan import GuestPlan
from tests.lab.support.clients import Clients
from tests.lab.support.wire import Wire

HEARD_S = 30.0


class Outside:
    """Looks on from its making to ``judge`` or ``abandon``.

    ``hosts`` are where the guest has lived meanwhile, in turn: ``Stage.moved`` adds to them.
    """

    def __init__(self, lab: Lab, plan: GuestPlan, host: str) -> None:
        self._plan = plan
        self.hosts = [host]
        with ExitStack() as stack:
            self.wire = stack.enter_context(Wire(lab))
            self.clients = stack.enter_context(Clients(lab, plan))
            self._stack = stack.pop_all()

    def judge(self, *, alive: bool = True) -> None:
        """Hold that no acknowledged answer is lost, no total went back, nobody else is heard.

        Of a guest that has ended (not ``alive``) what it told until then is judged.
        """
        macs = [self._plan.mac(vif) for vif in range(self._plan.vifs)]
        with self._stack:
            if alive:
                since_s = time.monotonic()
                self.clients.finish()
                for mac in macs:
                    self._wait_heard(mac, since_s)
            else:
                self.clients.finish_dead()
            for mac in macs:
                assert self.wire.emitters(mac) == self.hosts, mac

    def _wait_heard(self, mac: str, since_s: float) -> None:
        """Until the guest has said something new by itself where it is now."""
        self.wire.wait(
            lambda seen: (
                (seen.frame.source, seen.host) == (mac, self.hosts[-1])
                and seen.frame.chatter is not None
            ),
            HEARD_S,
            since_s,
        )

    def abandon(self, error: BaseException | None) -> None:
        """The story has failed: show what was on the wire, and let go."""
        kind = type(error) if error is not None else None
        self._stack.__exit__(kind, error, None)
