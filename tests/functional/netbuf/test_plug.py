"""The plug driver against this machine's kernel, in a network namespace of the test's own.

Where the kernel has no sch_plug the driver must say so and leave nothing behind; the cases that
need it run inside a lab's dom0 then (tests/lab/test_netbuf_dom0.py).
"""

from tests.functional.netbuf import cases

pytestmark = cases.needs_root


def run(*words: str) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in cases.results("plug_cases.py", *words, timeout_s=300)}


def test_cases(has_plug: bool) -> None:
    """All of them, or the one that shows what happens without the kernel's help."""
    results = run() if has_plug else run("no_plug")
    failed = {name: row["detail"] for name, row in results.items() if not row["ok"]}
    assert not failed, failed
    assert len(results) >= (14 if has_plug else 1)
