"""The store's local socket: the receiver's orders, and what the store has to say unasked.

One JSON object a line each way, over a unix socket. The receiver sends ``{"do": VERB, "n": N}``;
answers and news are ``{"said": WORD, …}``::

    close N    closed N, later prepared N
    commit N   committed N
    cut        cut (severed: nothing is taken any more)
    finish     finished N (uncommitted epochs dropped, the rest in the image and synced)
    status     status, with the store's figures
    quit       the store lets go of the image and its process ends

Unasked: ``prepared N``, ``severed``, ``failed`` with an error. An order that cannot be carried
out is answered ``failed`` with its error, and the verb. One receiver at a time; a new one replaces
a dead one, and is told ``prepared`` anew.
"""

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from remus_ha.disk.store.engine import EpochStore
from remus_ha.exceptions import RemusError

LINE = 65536


class StoreServer:
    """Serves one store on ``path``; ``ended`` is called once, on ``quit``."""

    def __init__(self, store: EpochStore, path: Path, ended: Callable[[], None]) -> None:
        self._store, self._path, self._ended = store, path, ended
        self._lock = threading.Lock()
        self._client: socket.socket | None = None
        store.prepared = lambda n: self._say("prepared", n=n)
        store.failed = lambda e: self._say("failed", error=e.as_dict(), do="")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        os.chmod(path, 0o600)
        self._listener.listen(4)
        for work in (self._accept_all, self._prepare_all):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def severed(self) -> None:
        """Tell the receiver that the primary's connection is gone."""
        self._say("severed")

    def _say(self, word: str, **more: Any) -> None:
        octets = json.dumps({"said": word, **more}).encode() + b"\n"
        with self._lock:
            client = self._client
            if client is not None:
                with contextlib.suppress(OSError):  # a dead receiver's end shows where it is read
                    client.sendall(octets)

    def _prepare_all(self) -> None:
        while self._store.prepare() is not None:
            pass

    def _accept_all(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with self._lock:
                before, self._client = self._client, client
            if before is not None:
                with contextlib.suppress(OSError):
                    before.shutdown(socket.SHUT_RDWR)
            serve = threading.Thread(target=self._serve, args=(client,), daemon=True)
            serve.start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            while line := lines.readline(LINE):
                self._take(line)
        with self._lock:
            if self._client is client:
                self._client = None

    def _take(self, line: bytes) -> None:
        try:
            order = json.loads(line)
            verb, n = str(order["do"]), int(order.get("n", -1))
        except (ValueError, TypeError, KeyError):
            return  # not ours
        try:
            self._carry_out(verb, n)
        except RemusError as e:
            self._say("failed", do=verb, n=n, error=e.as_dict())

    def _carry_out(self, verb: str, n: int) -> None:
        store = self._store
        if verb == "close":
            store.close(n)
            self._say("closed", n=n)
        elif verb == "commit":
            store.commit(n)
            self._say("committed", n=n)
        elif verb == "cut":
            store.sever()
            self._say("cut")
        elif verb == "finish":
            self._say("finished", n=store.finish())
        elif verb == "status":
            self._say("status", **store.status())
        elif verb == "quit":
            store.end()
            self._path.unlink(missing_ok=True)
            self._say("gone")
            self._ended()
