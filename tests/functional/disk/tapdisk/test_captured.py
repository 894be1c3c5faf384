"""Guards that both ends speak as the original driver does: replays what was captured from it."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from .peers import (
    DEADLINE_S,
    DISK_SECTORS,
    FakeStore,
    read_exactly,
    scripted_backup,
    scripted_primary,
    serve_until,
)

CAPTURED = Path(__file__).parent / "captured"
pytestmark = pytest.mark.skipif(
    sys.byteorder != "little",
    reason="captured on a little-endian host, and the order is the host's",
)


def octets(name: str) -> bytes:
    return (CAPTURED / name).read_bytes()


def captured(name: str) -> Any:
    return json.loads((CAPTURED / name).read_text())


def data(sectors: int, seed: int) -> bytes:
    return bytes((seed + i + 7 * (i // 512)) % 256 for i in range(sectors * 512))


def told(script: list[Any]) -> list[tuple[object, ...]]:
    """What a store has to hear of the script's writes, each split at eight sectors."""
    expected: list[tuple[object, ...]] = []
    for verb, *what in script:
        if verb == "write":
            sector, sectors, seed = what
            whole = data(sectors, seed)
            expected += [
                ("write", sector * 512 + start, whole[start : start + 4096])
                for start in range(0, len(whole), 4096)
            ]
        elif verb == "commit":
            expected.append(("close",))
    return expected


def sent_by_ours(script: list[Any], length: int) -> bytes:
    """What our primary sends for the script, every commit being answered."""
    with scripted_backup() as (primary, other):
        for verb, *what in script:
            if verb == "write":
                sector, sectors, seed = what
                primary.submit(sector * 512, data(sectors, seed))
            else:
                primary.commit(DEADLINE_S)
                other.sendall(b"done")
                primary.wait_done()
        primary.drain(DEADLINE_S)
        got = read_exactly(other, length)
        primary.close()
        assert other.recv(1) == b""
        return got


@pytest.mark.parametrize(
    ("name", "stream"),
    [("primary.json", "primary-sent.bin"), ("backup.json", "backup-received.bin")],
)
def test_our_backup_understands_the_very_writes(name: str, stream: str) -> None:
    script, store = captured(name)["script"], FakeStore()
    commits = script.count(["commit"])
    with scripted_primary(store) as (backup, other):
        # The captured peer waited for every answer, so the stream is sent epoch by epoch.
        sent = 0
        whole = octets(stream)
        for _ in range(commits):
            end = whole.index(b"creq", sent) + 4
            other.sendall(whole[sent:end])
            serve_until(lambda: len(store.closing) > 0, backup)
            store.closing.clear()
            assert read_exactly(other, 4) == b"done"
            sent = end
        other.sendall(whole[sent:])
        other.close()
        serve_until(lambda: backup.error is not None, backup)
    assert store.told == [*told(script), ("lost",)]


def test_our_primary_sends_what_the_original_sent() -> None:
    expected = octets("primary-sent.bin")
    assert sent_by_ours(captured("primary.json")["script"], len(expected)) == expected


def test_the_original_backup_accepted_what_our_primary_sends() -> None:
    """It has answered every commit, and its image then held what was committed, nothing else.

    ``sreq`` was put in by hand: our primary, like the last original one, never sends it.
    """
    fixture = captured("backup.json")
    script, received = fixture["script"], octets("backup-received.bin")
    plain = [line for line in script if line != ["submit"]]
    expected = received.replace(b"sreqcreq", b"creq")
    assert len(received) - len(expected) == 4 * script.count(["submit"])
    assert sent_by_ours(plain, len(expected)) == expected
    assert octets("backup-answered.bin") == b"done" * script.count(["commit"])
    assert fixture["image_sha256"] == digest_of(script)


def digest_of(script: list[Any]) -> str:
    """Of a disk of zeroes that has taken every epoch that was committed."""
    image, open_epoch = bytearray(DISK_SECTORS * 512), []
    for verb, *what in script:
        if verb == "write":
            open_epoch.append(what)
        elif verb == "commit":
            for sector, sectors, seed in open_epoch:
                image[sector * 512 : (sector + sectors) * 512] = data(sectors, seed)
            open_epoch = []
    return hashlib.sha256(image).hexdigest()
