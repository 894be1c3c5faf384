"""What the hypervisor's description of a domain means, and which releases are known."""

from pathlib import Path
from typing import Any

import pytest

from remus_ha.hypervisor.base import Life
from remus_ha.hypervisor.errors import CommandFailed, ToolMissing, UnknownVersion
from remus_ha.hypervisor.xen import paths
from remus_ha.hypervisor.xen.domain import XenDomain, life_of, xl

RUNNING = {
    "domid": 3, "dying": 0, "crashed": 0, "shutdown": 0, "paused": 0, "blocked": 1, "running": 0,
    "shutdown_reason": 255,
}  # fmt: skip


@pytest.mark.parametrize(
    ("told", "life"),
    [
        ({}, Life.RUNNING),
        ({"running": 1, "blocked": 0}, Life.RUNNING),
        ({"paused": 1}, Life.PAUSED),
        ({"shutdown": 1, "shutdown_reason": 0}, Life.POWEROFF),
        ({"shutdown": 1, "shutdown_reason": 1}, Life.REBOOT),
        ({"shutdown": 1, "shutdown_reason": 2}, Life.SUSPENDED),
        ({"shutdown": 1, "shutdown_reason": 2, "paused": 1}, Life.SUSPENDED),
        ({"shutdown": 1, "shutdown_reason": 3, "crashed": 1}, Life.CRASHED),
        ({"shutdown": 1, "shutdown_reason": 4}, Life.CRASHED),
        ({"dying": 1}, Life.GONE),
        ({"domid": 4}, Life.GONE),
    ],
)
def test_lives(told: dict[str, Any], life: Life) -> None:
    """The hypervisor answers with the next domain where the wanted one is gone."""
    assert life_of({**RUNNING, **told}, 3) is life


class Xc:
    """In place of libxenctrl: one domain, whose pauses are counted."""

    def __init__(self, **told: int) -> None:
        self.told, self.pauses = told, told.get("paused", 0)

    def domain_getinfo(self, domid: int, count: int) -> list[dict[str, Any]]:
        return [{**RUNNING, **self.told, "paused": int(self.pauses > 0)}]

    def domain_pause(self, domid: int) -> None:
        self.pauses += 1


@pytest.mark.parametrize(
    ("told", "pauses"),
    [
        ({}, 1),
        ({"paused": 1}, 1),
        ({"shutdown": 1, "shutdown_reason": 2}, 1),
        ({"shutdown": 1, "shutdown_reason": 2, "paused": 1}, 1),
        ({"shutdown": 1, "shutdown_reason": 0}, 0),
        ({"dying": 1}, 0),
    ],
)
def test_a_guest_that_lives_or_is_suspended_is_paused_once(
    told: dict[str, int], pauses: int
) -> None:
    domain = XenDomain.__new__(XenDomain)
    domain.domid, domain._xc, domain._errors = 3, Xc(**told), ()
    domain.pause()
    domain.pause()
    assert domain._xc.pauses == pauses


def test_no_domain_at_all() -> None:
    assert life_of(None, 3) is Life.GONE


@pytest.mark.parametrize("version", ["4.14", "4.17", "4.22"])
def test_known_releases(version: str) -> None:
    assert paths.check_version(version) == version


@pytest.mark.parametrize("version", ["4.13", "4.23", "3.4", "5.0", "4", "4.x", "", "4.17.1"])
def test_other_releases_are_refused(version: str) -> None:
    with pytest.raises(UnknownVersion, match=r"4\.14 to 4\.22"):
        paths.check_version(version)


def test_a_helper_that_is_given_goes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    helper = tmp_path / "helper"
    monkeypatch.setenv("LIBXL_SAVE_HELPER", str(helper))
    with pytest.raises(ToolMissing):
        paths.save_helper("4.17")
    helper.touch(mode=0o755)
    assert paths.save_helper("4.17") == str(helper)


@pytest.fixture
def fake_xl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    path = tmp_path / "xl"
    path.touch(mode=0o755)
    return path


def test_xl_and_its_complaints(fake_xl: Path) -> None:
    fake_xl.write_text('#!/bin/sh\necho "$@"\n')
    assert xl("list", "-l") == "list -l\n"
    fake_xl.write_text("#!/bin/sh\necho 'web9 is an invalid domain identifier' >&2\nexit 2\n")
    with pytest.raises(CommandFailed, match="'xl domid web9' failed: web9 is an invalid"):
        xl("domid", "web9")
    fake_xl.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(CommandFailed, match="exit status 3"):
        xl("info")
    fake_xl.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(CommandFailed, match=r"no answer in 0\.3 s"):
        xl("info", timeout_s=0.3)


def test_without_xl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing):
        xl("info")
