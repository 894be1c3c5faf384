"""The store's local socket: the receiver's orders, and what the store has to say unasked.

The lines are those of ``remus_ha.disk.orders``; answers and news are::

    close N    closed N, later prepared N
    commit N   committed N
    cut        cut (severed: nothing is taken any more)
    finish     finished N (uncommitted epochs dropped, the rest in the image and synced)
    hash N     hashed N: a digest for every ``grain`` of the ``length`` octets at ``offset``, as of
               the end of epoch N, which is the one closed last and is not committed yet
    quit       gone: the store has let go of the image, and its process ends

Unasked: ``prepared N``, ``severed`` (with an error where it was not the primary's connection that
was lost), ``failed`` with an error. The receiver is the owner.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.disk.orders import Order, OrderServer
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.looking import Looker


class StoreServer(OrderServer):
    """Serves one store on ``path``; ``ended`` is called once, on ``quit``."""

    def __init__(self, store: EpochStore, path: Path, ended: Callable[[], None]) -> None:
        super().__init__(path, ended)
        self._store = store
        self._looker = Looker(store, self.say)
        store.prepared = lambda n: self.say("prepared", n=n)
        store.failed = lambda e: self.say("failed", error=e.as_dict(), do="")
        store.lost = self.severed
        self.listen()
        threading.Thread(target=self._prepare_all, name="prepare", daemon=True).start()

    def severed(self) -> None:
        """Tell the receiver that the primary's connection is gone, or what else severs it."""
        loss = self._store.loss
        self.say("severed", **({"error": loss.as_dict()} if loss else {}))

    def _prepare_all(self) -> None:
        while self._store.prepare() is not None:
            pass

    def left(self) -> None:
        """Another receiver may come, and finds the store as it is."""

    def carry_out(self, order: Order) -> None:
        store, verb, n = self._store, order.verb, order.n
        if verb == "close":
            store.close(n)
            self.say("closed", n=n)
        elif verb == "commit":
            store.commit(n)
            self.say("committed", n=n)
        elif verb == "cut":
            store.sever()
            self.say("cut")
        elif verb == "finish":
            self.say("finished", n=store.finish())
        elif verb == "hash":
            self._looker.begin(order)

    def status(self) -> dict[str, Any]:
        return self._store.status()

    def settle(self) -> None:
        self._store.end()
