"""A loss that has been heard of, and not been told yet, is enough for nobody to vouch."""

import asyncio
from contextlib import nullcontext
from pathlib import Path

import pytest

from remus_ha.disk.base import Mirrored, Stores
from remus_ha.disk.qemu.driver import QemuDisks
from remus_ha.disk.qemu.errors import MirrorLost


class Monitor:
    """A QEMU that has nothing more to say once it has told of a loss."""

    has_events = False

    async def event(self) -> tuple[str, str, str]:
        return "BLOCK_JOB_ERROR", "remus-xvda", "Input/output error"

    async def do(self, _command: str) -> None:
        pass


async def _hear_and_ask(driver: QemuDisks, monitor: Monitor, *, loss: bool) -> None:
    if loss:
        with pytest.raises(MirrorLost):
            await driver._event(monitor)  # type: ignore[arg-type]
    await driver._ask(monitor, 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", [False, True])
def test_who_has_heard_of_a_loss_does_not_vouch(tmp_path: Path, loss: bool) -> None:
    driver = QemuDisks(
        domid=7,
        disks=[Mirrored("xvda", "xvda-raw", 1 << 20, 1)],
        stores=Stores("127.0.0.1", tmp_path, 0),
        quiesce=nullcontext,
        close_there=lambda n: None,
        log=print,
    )
    asyncio.run(_hear_and_ask(driver, Monitor(), loss=loss))
    driver.pump()
    assert driver._vouched == (-1 if loss else 7)
    driver.close()
