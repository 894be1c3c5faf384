"""What gets an operator out where no session knows a device any more: cleanup_cases.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cleanup_cases.py")
ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


@pytest.mark.parametrize(
    "case",
    [
        "nothing_is_touched",
        "what_the_remedy_says_by_hand",
        "a_claim_lets_the_guest_go_on",
        "no_claim_against_the_register",
        "after_the_guest_is_destroyed",
    ],
)
def test_devices_of_a_lost_session(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), case, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout, done.stderr
    row = json.loads(done.stdout)
    assert row["ok"], row["detail"]
