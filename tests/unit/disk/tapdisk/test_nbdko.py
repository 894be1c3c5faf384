"""What is said of a command that the kernel's nbd driver is told with, when it fails."""

import pytest

from remus_ha.disk.tapdisk.classic import nbdko
from remus_ha.disk.tapdisk.errors import AttachFailed


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(AttachFailed, match="no-such-command -d failed"):
        nbdko._run(["no-such-command", "-d"])


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(AttachFailed, match="failed: this is why"):
        nbdko._run(["sh", "-c", "echo this is why >&2; exit 3"])
    with pytest.raises(AttachFailed, match="failed: status 3"):
        nbdko._run(["sh", "-c", "exit 3"])
