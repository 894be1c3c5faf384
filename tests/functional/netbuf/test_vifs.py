"""The hotplug script in dash and busybox, opening, shutting, announcing: vif_cases.py."""

import shutil

import pytest

from tests.functional.netbuf import cases

SHELLS = [shell for shell in ("dash", "busybox sh") if shutil.which(shell.split()[0])]

pytestmark = cases.needs_root


def run(case: str, shell: str) -> None:
    cases.run("vif_cases.py", case, *shell.split())


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("case", ["without_record", "mtu", "names", "shut_then_open"])
def test_hotplug(case: str, shell: str) -> None:
    run(case, shell)


@pytest.mark.parametrize("case", ["custom_script", "not_opened", "announced"])
def test_without_a_choice_of_shell(case: str) -> None:
    run(case, SHELLS[0])
