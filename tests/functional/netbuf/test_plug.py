"""The plug driver against this machine's kernel, in a network namespace of the test's own.

Where the kernel has no sch_plug the driver must say so and leave nothing behind; the cases that
need it run inside a lab's dom0 then (tests/lab/test_netbuf_dom0.py).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("plug_cases.py")
ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def run(*words: str) -> dict[str, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, str(CASES), *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows, done.stderr
    return {row["name"]: row for row in rows}


@pytest.fixture(scope="module")
def has_plug() -> bool:
    probe = "ip link add p0 type ifb && tc qdisc add dev p0 root plug limit 1000000"
    return subprocess.run(["unshare", "-n", "sh", "-c", probe], capture_output=True).returncode == 0


def test_cases(has_plug: bool) -> None:
    """All of them, or the one that shows what happens without the kernel's help."""
    results = run() if has_plug else run("no_plug")
    failed = {name: row["detail"] for name, row in results.items() if not row["ok"]}
    assert not failed, failed
    assert len(results) >= (14 if has_plug else 1)
