"""Telling xl's monitor of a domain from other processes named xl."""

from pathlib import Path

import pytest

from remus_ha.hypervisor.xen.monitor import is_minded


def process(proc: Path, pid: int, program: str, output: str) -> None:
    directory = proc / str(pid)
    (directory / "fd").mkdir(parents=True)
    (directory / "cmdline").write_bytes(program.encode() + b"\0create\0web1.cfg\0")
    (directory / "fd" / "1").symlink_to(output)


@pytest.mark.parametrize(
    ("program", "output", "minded"),
    [
        ("xl", "/var/log/xen/xl-web1.log", True),
        ("/usr/sbin/xl", "/var/log/xen/xl-web1.log.1", True),
        ("xl", "/var/log/xen/xl-web1--incoming.log", True),
        ("xl", "/var/log/xen/xl-web10.log", False),
        ("xl", "/dev/pts/0", False),
        ("tail", "/var/log/xen/xl-web1.log", False),
    ],
)
def test_it_is_known_by_its_log(tmp_path: Path, program: str, output: str, minded: bool) -> None:
    process(tmp_path, 7, program, output)
    (tmp_path / "self").mkdir()
    (tmp_path / "8").mkdir()  # it has ended meanwhile
    assert is_minded("web1", tmp_path) is minded
