"""Guards the names of the FIFOs, which classic controllers make up by themselves."""

from pathlib import Path

from remus_ha.disk.tapdisk.fifo import control_path, message_path


def test_names() -> None:
    assert control_path("192.0.2.7:9000") == Path("/var/run/tap/remus_192.0.2.7_9000")
    assert message_path("192.0.2.7:9000") == Path("/var/run/tap/remus_192.0.2.7_9000.msg")


def test_no_name_leaves_the_directory() -> None:
    assert control_path("a/../b:1", Path("/d:x")) == Path("/d:x/remus_a_.._b_1")
    assert message_path("a/../b:1", Path("/d:x")) == Path("/d:x/remus_a_.._b_1.msg")
