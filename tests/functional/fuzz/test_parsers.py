"""Whatever comes, a parser refuses it by its own error, soon and with little memory.

20,000 inputs for each; with REMUS_HA_FULL a million for the parsers that strangers reach.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.fuzz.run import PARSERS

ROOT = Path(__file__).parents[3]
FULL = bool(os.environ.get("REMUS_HA_FULL"))
REACHED = ("frames", "tapdisk")
SLOW = {"certificate": 20}  # OpenSSL reads each one


def fuzz(name: str, count: int, seed: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.functional.fuzz.run", name, str(count), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=850,
    )


@pytest.mark.parametrize("name", PARSERS)
def test_only_its_own_errors(name: str) -> None:
    count = 1_000_000 if FULL and name in REACHED else 20_000
    count //= SLOW.get(name, 1)
    done = fuzz(name, count, seed=1)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told["inputs"] == count
    assert 0 < told["passed"] or name in ("certificate", "stream")


def test_another_error_is_found(tmp_path: Path) -> None:
    """The harness itself: a parser that trips over a long number."""
    code = (
        "from tests.functional.fuzz import run\n"
        "run.PARSERS['bad'] = run.Parser(lambda raw: bytes(len(raw) ** 3), (), [b'x' * 400])\n"
        "run.main('bad', 1000, 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100
    )
    assert done.returncode != 0
    assert "MemoryError" in done.stderr
