import pytest

from remus_ha.lab.errors import BadValue
from remus_ha.lab.release import BOOKWORM, RELEASES, TRIXIE, VARIABLE, default_release, release_of


def test_each_has_its_own_xen() -> None:
    assert {"xen-hypervisor-4.17-amd64", "xen-utils-4.17"} < set(BOOKWORM.packages)
    assert {"xen-hypervisor-4.20-amd64", "xen-utils-4.20"} < set(TRIXIE.packages)
    assert not {package for package in TRIXIE.packages if "4.17" in package or "{" in package}


def test_it_is_known_by_its_name() -> None:
    assert [release_of(name) for name in RELEASES] == [BOOKWORM, TRIXIE]
    with pytest.raises(BadValue, match="sid") as caught:
        release_of("sid")
    assert "bookworm or trixie" in caught.value.advice


@pytest.mark.parametrize(
    ("value", "release"), [(None, BOOKWORM), ("", BOOKWORM), ("trixie", TRIXIE)]
)
def test_the_environment_chooses(
    monkeypatch: pytest.MonkeyPatch, value: str | None, release: object
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    assert default_release() == release


def test_a_wrong_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "sid")
    with pytest.raises(BadValue):
        default_release()
