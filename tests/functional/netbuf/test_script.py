"""Buffers by an operator's script against this machine's kernel: script_cases.py.

Where it has no sch_plug only what is refused can be seen; the rest runs inside a lab's dom0 then
(tests/lab/test_netbuf_dom0.py).
"""

from tests.functional.netbuf import cases

SAMPLE = str(cases.ROOT / "etc" / "netbuf" / "remus-ha-netbuf")
WITHOUT_PLUG = ("refused", "shared", "another_root", "hanging", "foreign")

pytestmark = cases.needs_root


def test_cases(has_plug: bool) -> None:
    """All of them, or those that show what happens before any plug is looked at."""
    names = () if has_plug else WITHOUT_PLUG
    rows = cases.results("script_cases.py", SAMPLE, *names, timeout_s=300)
    failed = {row["name"]: row["detail"] for row in rows if not row["ok"]}
    assert not failed, failed
    assert len(rows) >= len(WITHOUT_PLUG)
