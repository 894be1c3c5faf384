from remus_ha.lab.image import _base_key, _excluded
from remus_ha.lab.release import BOOKWORM, TRIXIE


def test_each_release_has_images_of_its_own() -> None:
    assert _base_key(BOOKWORM) != _base_key(TRIXIE)


def test_modules_that_no_host_needs_are_left_out_where_the_packages_have_them() -> None:
    assert "path-exclude=/lib/modules/*/kernel/sound/*" in _excluded(BOOKWORM)
    assert "path-exclude=/usr/lib/modules/*/kernel/drivers/gpu/*" in _excluded(TRIXIE)
    assert "path-exclude=/usr/share/doc/*" in _excluded(TRIXIE)
