from pathlib import Path

import pytest

from remus_ha.lab.apt import sources_for
from remus_ha.lab.errors import NoAptSources

DEB822 = """Types: deb
# an old mirror
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_deb822_file_with_a_comment_inside_a_stanza(apt: Path) -> None:
    file = apt / "sources.list.d" / "debian.sources"
    file.write_text(DEB822)
    assert sources_for("bookworm", apt) == [file]


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.example/debian bookworm main",
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm contrib main",
    ],
)
def test_one_line_sources(apt: Path, line: str) -> None:
    (apt / "sources.list").write_text(line + "\n")
    assert sources_for("bookworm", apt) == [apt / "sources.list"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("vendor.list", "deb http://vendor.example/linux/debian bookworm stable\n"),
        ("comment.list", "# deb http://mirror.example/debian bookworm main\n"),
        ("source.list", "deb-src http://mirror.example/debian bookworm main\n"),
        ("other.sources", DEB822.replace("bookworm", "trixie")),
        ("debian.sources.disabled", DEB822),
    ],
)
def test_other_sources_are_left_alone(apt: Path, name: str, text: str) -> None:
    (apt / "sources.list.d" / name).write_text(text)
    with pytest.raises(NoAptSources, match="bookworm"):
        sources_for("bookworm", apt)
