"""Xen's own checker has the second word on what the product writes and takes apart.

Needs ``verify-stream-v2``, which comes with xen-utils: on a dom0, or unpacked somewhere and named
by REMUS_HA_XEN_LIB (the directory that holds ``bin/`` and ``lib/python/``).
"""

import io
import os
import subprocess
from pathlib import Path

import pytest

from remus_ha.stream.xenwalk import as_plain, libxc_only, libxl_only, walk
from tests.unit.stream import streams

FOUND = [os.environ.get("REMUS_HA_XEN_LIB", ""), *map(str, Path("/usr/lib").glob("xen-4.*"))]
LIB = next((Path(p) for p in FOUND if p and (Path(p) / "bin/verify-stream-v2").exists()), None)

pytestmark = pytest.mark.skipif(LIB is None, reason="verify-stream-v2 of xen-utils is not here")


def verify(layer: str, raw: bytes) -> int:
    assert LIB is not None
    done = subprocess.run(
        ["/usr/bin/python3", LIB / "bin/verify-stream-v2", "-f", layer],
        input=raw,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(LIB / "lib/python")},
    )
    return done.returncode


@pytest.mark.parametrize("guest", [streams.PV, streams.HVM])
@pytest.mark.parametrize("version", [2, 3])
def test_each_layer_passes(guest: int, version: int) -> None:
    pieces = list(walk(io.BytesIO(streams.remus(3, guest, version))))
    assert verify("libxc", b"".join(libxc_only(pieces))) == 0
    assert verify("libxl", b"".join(libxl_only(pieces, 1))) == 0
    assert verify("xl", b"".join(as_plain(pieces, 2))) == 0


def test_checker_finds_a_breach() -> None:
    pieces = list(walk(io.BytesIO(streams.remus(1))))
    assert verify("libxc", b"".join(libxc_only(pieces))[:-16] + b"rubbish.") == 1
