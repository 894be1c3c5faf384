"""What gets an operator out where no session knows a device any more: cleanup_cases.py."""

from pathlib import Path

import pytest

from tests.functional.netbuf import cases

pytestmark = cases.needs_root


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
    cases.run("cleanup_cases.py", case, str(tmp_path))
