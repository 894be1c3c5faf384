"""``remus-ha disk recover`` on what stores have left that died with their host."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from remus_ha import rundir
from remus_ha.cmd.remus_ha import main
from remus_ha.disk.lineage import Lineage, record
from remus_ha.disk.spec import journal_of
from remus_ha.disk.store.engine import EpochStore
from remus_ha.disk.store.image import Image
from remus_ha.disk.store.launch import SETUP, Setup
from remus_ha.disk.store.recover import forget

SIZE = 1 << 20
OLD, NEW = b"\0", b"\7"


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return [tmp_path / "xvda.img", tmp_path / "xvdb.img"]


def leave(image: Path, *, of: list[Path], session: str = "s1", committed: bool = True) -> None:
    """Epoch 1 is held whole, and nothing of it is in the image."""
    directory = journal_of(image)
    setup = Setup(
        disk=image.stem,
        path=str(image),
        size=SIZE,
        known=True,
        directory=str(directory),
        socket="",
        ack="received",
        limit=1 << 30,
        session=session,
        images=[str(path) for path in of],
    )
    rundir.write_json(directory / SETUP, asdict(setup))
    child = os.fork()
    if child == 0:
        made = Image.take(image, SIZE, known=True)
        store = EpochStore(disk=setup.disk, image=made, directory=directory)
        store.close(0)
        store.prepare()
        store.commit(0)
        with store.pinned():  # nothing more is applied
            store.write(0, NEW * 512)
            store.close(1)
            store.prepare()
            if committed:
                store.commit(1)
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@contextmanager
def used(image: Path) -> Iterator[None]:
    with image.open("r+b") as opened, subprocess.Popen(["sleep", "600"], stdin=opened) as user:
        try:
            yield
        finally:
            user.kill()


def recover(*images: Path) -> int:
    return main(["disk", "recover", *map(str, images)])


def first_octets(images: list[Path]) -> list[bytes]:
    return [image.read_bytes()[:1] for image in images]


def test_what_one_image_has_committed_is_committed_on_all(
    images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    leave(images[0], of=images, committed=False)
    leave(images[1], of=images)
    assert recover(*images) == 0
    assert capsys.readouterr().out.count("epoch 1\n") == 2
    assert first_octets(images) == [NEW, NEW]


def test_the_second_time_leaves_what_was_written_since(images: list[Path]) -> None:
    for image in images:
        leave(image, of=images)
    assert recover(*images) == 0
    for image in images:
        image.write_bytes(OLD * SIZE)
    assert recover(*images) == 0
    assert first_octets(images) == [OLD, OLD]


def test_the_images_of_a_guest_that_runs_already_are_left_alone(
    images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also those that it does not have open. A QEMU locks nothing against us."""
    for image in images:
        leave(image, of=images)
    with used(images[1]):
        assert recover(*images) == 1
    assert f"DISK-003: {images[1]}" in capsys.readouterr().err
    assert first_octets(images) == [OLD, OLD]
    assert recover(*images) == 0
    assert first_octets(images) == [NEW, NEW]


def test_an_image_that_a_guest_opens_meanwhile_is_left_alone(images: list[Path]) -> None:
    """The process that writes to it looks, too."""
    leave(images[0], of=images[:1])
    setup = journal_of(images[0]) / SETUP
    command = ["python3", "-m", "remus_ha.disk.store.recover", str(setup), "1"]
    with used(images[0]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "DISK-003" in done.stdout
    assert first_octets(images[:1]) == [OLD]


def test_an_image_that_was_not_named_is_missed(
    images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for image in images:
        leave(image, of=images)
    assert recover(images[0]) == 1
    assert f"{images[1]} is missing" in capsys.readouterr().err
    assert first_octets(images) == [OLD, OLD]


def test_images_of_two_sessions_are_refused(
    images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    leave(images[0], of=images, session="s1")
    leave(images[1], of=images, session="s2")
    assert recover(*images) == 1
    assert "DISK-185" in capsys.readouterr().err
    assert first_octets(images) == [OLD, OLD]


@pytest.mark.parametrize("guests", [("u1", "u2"), ("u1", "u1")])
def test_images_of_two_guests_are_refused_where_no_session_is_known(
    images: list[Path], guests: tuple[str, str]
) -> None:
    """As of those that daemons served."""
    for image, guest in zip(images, guests, strict=True):
        leave(image, of=[], session="")
        record(image, Lineage(guest, image.stem, 3))
    together = guests[0] == guests[1]
    assert recover(*images) == (0 if together else 1)
    assert first_octets(images) == ([NEW, NEW] if together else [OLD, OLD])


def test_nothing_is_left_for_an_image_that_is_the_guests_own(
    images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    leave(images[0], of=images[:1])
    forget(images[0])
    assert recover(images[0]) == 1
    assert "DISK-018" in capsys.readouterr().err
    assert first_octets(images[:1]) == [OLD]
