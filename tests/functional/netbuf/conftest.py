"""What this machine's kernel can do."""

import subprocess

import pytest


@pytest.fixture(scope="session")
def has_plug() -> bool:
    """Whether it has sch_plug and ifb. Needs root."""
    probe = "ip link add p0 type ifb && tc qdisc add dev p0 root plug limit 1000000"
    return subprocess.run(["unshare", "-n", "sh", "-c", probe], capture_output=True).returncode == 0
