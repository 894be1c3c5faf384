"""Running a script of cases as a process of its own, which makes itself a network namespace."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

needs_root = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def results(script: str, *words: str, timeout_s: float = 120) -> list[dict[str, Any]]:
    """What each case of ``script``, beside this file, has printed of itself."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script)), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows, done.stderr
    return rows


def run(script: str, *words: str) -> None:
    """One case, which must have held."""
    (row,) = results(script, *words)
    assert row["ok"], row["detail"]
