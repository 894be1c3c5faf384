"""The driver's end of a block server that ends while one of its threads gives orders."""

import asyncio
import inspect
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remus_ha.disk.tapdisk.launch import Setup
from remus_ha.disk.tapdisk.link import Link, Server
from remus_ha.disk.tapdisk.names import Files

SETUP = Setup(
    disk="xvda", path="/disk.img", size=1 << 20, direct=False, orders="", address="", port=0, tls=""
)


class Ending(Server):
    """The thread that sees its end gets its turn right after the first look at ``link``."""

    _link: Link | None = None

    @property
    def link(self) -> Link | None:  # type: ignore[override]
        link, self._link = self._link, None
        return link

    @link.setter
    def link(self, link: Link | None) -> None:
        self._link = link


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[Ending]:
    files = Files(tmp_path, "xvda")
    files.orders.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(files.orders))
        listener.listen()
        made = Ending(SETUP, files)
        made.link = link = Link(files)
        listener.accept()[0].close()
        yield made
        link.close()


@pytest.mark.parametrize(
    "use",
    [lambda server: server.order("free"), Server.over, Server.free, Server.end],
    ids=["order", "over", "free", "end"],
)
def test_a_server_that_ends_meanwhile_is_no_error(
    ending: Ending, use: Callable[[Server], object]
) -> None:
    async def used() -> None:
        done = use(ending)
        if inspect.isawaitable(done):
            await done

    asyncio.run(used())
