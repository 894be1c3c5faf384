"""What the kernel's nbd driver is told with."""

import pytest

from remus_ha.disk.tapdisk.classic import nbdko
from remus_ha.disk.tapdisk.errors import AttachFailed


def test_commands() -> None:
    assert nbdko.attaching("/run/x.nbd", "/dev/nbd3") == [
        *("nbd-client", "-unix", "/run/x.nbd", "/dev/nbd3", "-block-size", "512")
    ]
    assert nbdko.detaching("/dev/nbd3") == ["nbd-client", "-d", "/dev/nbd3"]


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(AttachFailed, match="no-such-command -d failed"):
        nbdko.run(["no-such-command", "-d"])


def test_a_command_that_fails_is_quoted() -> None:
    with pytest.raises(AttachFailed, match="failed: this is why"):
        nbdko.run(["sh", "-c", "echo this is why >&2; exit 3"])
    with pytest.raises(AttachFailed, match="failed: status 3"):
        nbdko.run(["sh", "-c", "exit 3"])
