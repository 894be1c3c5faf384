"""The static checks of tools/lint, one test each, so that one summary counts them."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = ROOT / "tools" / "lint"
NAMES = subprocess.run([LINT, "--list"], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", NAMES)
def test_check_passes(name: str) -> None:
    """Guards the whole tree; the message is the tool's own output."""
    done = subprocess.run([LINT, name], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_failing_check_is_reported(tmp_path: Path) -> None:
    """A name that there is no check for stands for a tool that fails."""
    done = subprocess.run([LINT, "codespell", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "failed: nonsense" in done.stderr.replace("codespell ", "")
