"""The hotplug script in dash and busybox, opening, shutting, announcing: vif_cases.py."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("vif_cases.py")
ROOT = Path(__file__).parents[3]
SHELLS = [shell for shell in ("dash", "busybox sh") if shutil.which(shell.split()[0])]

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


def run(case: str, shell: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), case, *shell.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout, done.stderr
    row = json.loads(done.stdout)
    assert row["ok"], row["detail"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", ["without_record", "mtu", "names", "shut_then_open"])
def test_hotplug(case: str, shell: str) -> None:
    run(case, shell)


@pytest.mark.parametrize("case", ["custom_script", "not_opened", "announced"])
def test_without_a_choice_of_shell(case: str) -> None:
    run(case, SHELLS[0])
