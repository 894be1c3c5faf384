"""An old peer for each of our daemons: what the original driver sent, and what it answered."""

import hashlib
import socket
import sys
from pathlib import Path

import pytest

from tests.functional.disk.machine import DEADLINE_S

from .daemons import BACKUP, PORT, Hosts, Pair, await_answer
from .peers import DISK_SECTORS, read_exactly
from .test_captured import captured, data, digest_of, octets

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        sys.byteorder != "little",
        reason="captured on a little-endian host, and the order is the host's",
    ),
]


@pytest.fixture
def blank(pair: Pair, tmp_path: Path) -> Pair:
    """A pair on disks of zeroes, as large as the captured ones."""
    for host in ("primary", "backup"):
        (tmp_path / host / "disk.img").write_bytes(bytes(DISK_SECTORS * 512))
    return pair


@pytest.mark.parametrize(
    ("name", "stream"),
    [("primary.json", "primary-sent.bin"), ("backup.json", "backup-received.bin")],
)
def test_an_old_primary(hosts: Hosts, blank: Pair, name: str, stream: str) -> None:
    """It waits for every answer, and its connection ends in the middle of an epoch."""
    backup = blank.start("backup")
    whole, script = octets(stream), captured(name)["script"]
    with hosts.entered("primary"):
        old = socket.create_connection((BACKUP, PORT), DEADLINE_S)
    sent = 0
    for _ in range(script.count(["commit"])):
        end = whole.index(b"creq", sent) + 4
        old.sendall(whole[sent:end])
        assert read_exactly(old, 4) == b"done"
        sent = end
    assert hashlib.sha256(backup.content()).hexdigest() == digest_of(script)
    old.sendall(whole[sent:])
    old.close()
    backup.hear("UNPROTECTED")
    found = hashlib.sha256(backup.image.read_bytes()).hexdigest()
    assert found == captured(name).get("image_sha256", found) == digest_of(script)


def sent_by_an_original(name: str) -> bytes:
    """``sreq`` was put into one stream by hand: no late original sends it, nor does ours."""
    if name == "primary.json":
        return octets("primary-sent.bin")
    return octets("backup-received.bin").replace(b"sreqcreq", b"creq")


@pytest.mark.parametrize("name", ["primary.json", "backup.json"])
def test_an_old_backup(hosts: Hosts, blank: Pair, name: str) -> None:
    """It gets, octet for octet, what the original sent, and its answers are understood."""
    with hosts.entered("backup"):
        listener = socket.create_server((BACKUP, PORT))
    primary = blank.start("primary")
    old, _ = listener.accept()
    old.settimeout(DEADLINE_S)
    expected, sent = sent_by_an_original(name), 0
    client, controller = primary.client(), primary.controller()
    for verb, *what in captured(name)["script"]:
        if verb == "write":
            sector, sectors, seed = what
            client.write(sector * 512, data(sectors, seed))
        elif verb == "commit":
            controller.begin(DEADLINE_S)
            end = expected.index(b"creq", sent) + 4
            assert read_exactly(old, end - sent) == expected[sent:end]
            sent = end
            assert not controller.answered()
            old.sendall(b"done")
            await_answer(controller)
    assert read_exactly(old, len(expected) - sent) == expected[sent:]
    old.close()
    listener.close()
    primary.hear("UNPROTECTED")
