"""Where a disk's image lies on the backup."""

import pytest

from remus_ha.checkpoint.arrange import mapped

RULES = (
    ("/images", "/srv/replicas"),
    ("/images/fast", "/dev/vg0"),
    ("/images/one.img", "/x/y.img"),
    ("/", "/mirror"),
)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/images/web1.img", "/srv/replicas/web1.img"),
        ("/images/fast/web1", "/dev/vg0/web1"),
        ("/images/one.img", "/x/y.img"),
        ("/imagesque/web1.img", "/mirror/imagesque/web1.img"),
    ],
)
def test_the_longest_rule_that_fits_counts(path: str, there: str) -> None:
    assert mapped(path, RULES) == there


def test_without_a_rule_the_path_stays() -> None:
    assert mapped("/images/web1.img", ()) == "/images/web1.img"
    assert mapped("/other/web1.img", RULES[:3]) == "/other/web1.img"
