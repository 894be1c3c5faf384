from pathlib import Path

import pytest

from remus_ha.lab.apt import Machine, sources_for
from remus_ha.lab.errors import NoAptSources, NoArchiveKeys

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
BOOKWORM = '# told by base-files\n\nNAME="Debian"\nVERSION_CODENAME="bookworm"\nID=debian\n'


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Debian 12 without a source yet, with keys of two releases."""
    made = Machine(tmp_path / "apt", tmp_path / "os-release", tmp_path / "keyrings")
    (made.apt / "sources.list.d").mkdir(parents=True)
    made.keyrings.mkdir()
    for release in ("bookworm", "trixie"):
        (made.keyrings / f"debian-archive-{release}-stable.gpg").touch()
    made.os_release.write_text(BOOKWORM)
    return made


def wanted(machine: Machine, release: str = "bookworm") -> list[Path]:
    return sources_for(release, machine.apt.parent / "derived", machine)


def add(machine: Machine, name: str, text: str) -> Path:
    file = machine.apt / "sources.list.d" / name
    file.write_text(text)
    return file


def test_deb822_file_with_a_comment_inside_a_stanza(machine: Machine) -> None:
    file = add(machine, "debian.sources", DEB822)
    assert wanted(machine) == [file]


@pytest.mark.parametrize(
    "line",
    [
        "deb http://mirror.example/debian bookworm main",
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm contrib main",
    ],
)
def test_one_line_sources(machine: Machine, line: str) -> None:
    (machine.apt / "sources.list").write_text(line + "\n")
    assert wanted(machine) == [machine.apt / "sources.list"]


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
def test_other_sources_are_left_alone(machine: Machine, name: str, text: str) -> None:
    add(machine, name, text)
    with pytest.raises(NoAptSources, match="bookworm"):
        wanted(machine)


class TestDerived:
    """The machine's own release stands for another one."""

    def test_deb822(self, machine: Machine) -> None:
        add(machine, "debian.sources", DEB822)
        (file,) = wanted(machine, "trixie")
        assert file.name == "debian.sources"
        assert file.read_text() == (
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie trixie-updates\n"
            "Components: main\n\n"
            "Types: deb\nURIs: http://mirror.example/security\nSuites: trixie-security\n"
            "Components: main\n"
        )

    def test_one_line(self, machine: Machine) -> None:
        text = "deb [signed-by=/bookworm.gpg] http://bookworm.example/debian bookworm{} main\n"
        add(machine, "debian.list", text.format("") + text.format("-updates"))
        (file,) = wanted(machine, "trixie")
        assert file.read_text().split("\n\n") == [
            "deb [signed-by=/bookworm.gpg] http://bookworm.example/debian trixie main",
            "deb [signed-by=/bookworm.gpg] http://bookworm.example/debian trixie-updates main\n",
        ]

    def test_what_is_no_part_of_debian_is_left_out(self, machine: Machine) -> None:
        add(machine, "debian.sources", DEB822)
        add(machine, "cloud.list", "deb http://vendor.example/apt cloud-sdk-bookworm main\n")
        add(machine, "node.list", "deb http://vendor.example/node bookworm stable\n")
        assert [file.name for file in wanted(machine, "trixie")] == ["debian.sources"]

    def test_a_source_of_that_release_comes_first(self, machine: Machine) -> None:
        add(machine, "debian.sources", DEB822)
        file = add(machine, "next.sources", DEB822.replace("bookworm", "trixie"))
        assert wanted(machine, "trixie") == [file]

    def test_updates_alone_are_no_release(self, machine: Machine) -> None:
        add(machine, "updates.list", "deb http://mirror.example/debian bookworm-updates main\n")
        with pytest.raises(NoAptSources):
            wanted(machine, "trixie")

    @pytest.mark.parametrize("told", ["ID=ubuntu", "ID=debian\nVERSION_CODENAME=forky", ""])
    def test_on_another_system_there_is_nothing_to_derive_from(
        self, machine: Machine, told: str
    ) -> None:
        add(machine, "debian.sources", DEB822)
        machine.os_release.write_text(f"VERSION_CODENAME=bookworm\n\n{told}\n" if told else "")
        with pytest.raises(NoAptSources, match="trixie"):
            wanted(machine, "trixie")

    def test_without_the_release_s_keys(self, machine: Machine) -> None:
        add(machine, "debian.sources", DEB822)
        with pytest.raises(NoArchiveKeys, match="forky") as caught:
            wanted(machine, "forky")
        assert "debian-archive-keyring" in caught.value.advice
