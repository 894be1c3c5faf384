"""What has to hold for the repository as a whole."""

import importlib.util
import os
import re
import shutil
import string
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from types import ModuleType

import pytest

from remus_ha import conf
from remus_ha.exceptions import RemusError
from remus_ha.limits import Limits
from remus_ha.witness.url import parse_etcd_url

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    """The repository's files: git's list, or without git all that is not built or hidden."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        files = [ROOT / name for name in done.stdout.split("\0") if name]
    else:
        built = re.compile(r"^(build|out|.*\.egg-info|\.(venv|tox|git|\w+_cache))$|^__pycache__$")
        files = [
            file
            for file in ROOT.rglob("*")
            if not any(built.match(part) for part in file.relative_to(ROOT).parts)
        ]
    return [file for file in files if file.is_file()]


def lines_matching(pattern: str) -> list[str]:
    """``file:line: text`` of every match in the repository's text files."""
    wanted = re.compile(pattern)
    hits = []
    for file in tracked():
        text = file.read_bytes().decode(errors="replace")
        hits += [
            f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
            for number, line in enumerate(text.splitlines(), 1)
            if wanted.search(line)
        ]
    return hits


class TestFiles:
    """Guards what must not be written into the repository."""

    def test_the_search_sees_this_file(self) -> None:
        needle = "a needle that only " + "this line holds"
        assert not lines_matching(needle)
        assert any("test_repository.py" in hit for hit in lines_matching("a needle that only "))

    def test_no_package_registry_is_named(self) -> None:
        hosts = r"py[p]i\.org|python[h]osted|npm[j]s|crates[.]io|proxy[.]golang|ruby[g]ems"
        assert lines_matching(hosts) == []

    def test_no_path_of_one_machine_is_named(self) -> None:
        assert lines_matching(r"(?<![\w.~$})-])/(work|home|Users|workspace|builds)/\w") == []

    def test_a_working_tree_elsewhere_is_not_named(self) -> None:
        if len(ROOT.parts) < 3:
            pytest.skip("the tree's own path is too short to be told from other text")
        assert lines_matching(re.escape(str(ROOT)) + r"\b") == []

    def test_configuration_sample_is_what_the_command_line_reads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sample = ROOT / "etc" / "remus-ha" / "remus-ha.conf.sample"
        monkeypatch.setattr(conf, "PATH", sample)
        assert conf.text("witness", "url") is None
        assert Limits.read() == Limits()
        used = tmp_path / "remus-ha.conf"
        used.write_text(re.sub(r"^#(?=\w)", "", sample.read_text(encoding="utf-8"), flags=re.M))
        monkeypatch.setattr(conf, "PATH", used)
        assert Limits.read() == Limits(memory_mib=8192, keep_free_mib=1024, link_mbit_s=900)
        assert conf.number("replication", "rate_mbit_s") == 200
        url = conf.text("witness", "url")
        assert url is not None
        assert [str(e) for e in parse_etcd_url(url).endpoints] == [
            f"10.0.0.{n}:2379" for n in (9, 10, 11)
        ]

    def test_licence_is_apache(self) -> None:
        assert "Apache License\n                           Version 2.0" in (
            ROOT / "LICENSE"
        ).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The documentation's own walk over the package."""
    path = ROOT / "doc" / "source" / "_ext" / "error_reference.py"
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("error_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def subclasses(cls: type[RemusError]) -> set[type[RemusError]]:
    """All of them, however deep."""
    direct = set(cls.__subclasses__())
    return direct.union(*(subclasses(child) for child in direct))


class TestErrors:
    """Guards remus_ha.exceptions' promise: stable codes, a cause and a remedy, documented."""

    @pytest.fixture
    def errors(self, reference: ModuleType) -> list[type[RemusError]]:
        reference.modules()
        ours = [c for c in subclasses(RemusError) if c.__module__.startswith("remus_ha.")]
        assert len(ours) > 10
        return ours

    def test_every_error_has_its_own_code(self, errors: list[type[RemusError]]) -> None:
        seen: dict[str, list[str]] = {}
        for error in errors:
            if error.__subclasses__() and "code" not in vars(error):
                continue  # a base for grouping, never raised
            assert "code" in vars(error), f"{error.__qualname__} has no code of its own"
            seen.setdefault(error.code, []).append(f"{error.__module__}.{error.__qualname__}")
        assert {code: names for code, names in seen.items() if len(names) > 1} == {}
        assert [code for code in seen if not re.fullmatch(r"[A-Z]+-\d{2,3}", code)] == []

    def test_every_error_has_a_cause_and_a_remedy(self, errors: list[type[RemusError]]) -> None:
        for error in errors:
            if error.__subclasses__():
                continue  # a base for grouping: its cause may be the detail alone
            for text in (error.cause, error.remedy):
                assert len(text) > 10 or re.fullmatch(r"\{\w+\}", text), error
                assert all(name != "" for _, name, _, _ in string.Formatter().parse(text)), error
            assert "cause" in vars(error), f"{error.__qualname__} has no cause of its own"
            assert error.remedy != RemusError.remedy, f"{error.__qualname__} has no remedy"

    def test_documentation_builds_without_a_warning(self, tmp_path: Path) -> None:
        sphinx = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
        source = ROOT / "doc" / "source"
        done = subprocess.run(
            [*sphinx, "-d", tmp_path / "trees", source, tmp_path / "html"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "REMUS-000" in (tmp_path / "html" / "errors.html").read_text(encoding="utf-8")

    def test_every_error_is_documented(
        self, errors: list[type[RemusError]], reference: ModuleType
    ) -> None:
        with_code = {error for error in errors if "code" in vars(error)}
        assert with_code <= set(reference.errors())
        assert ".. remus-errors::" in (ROOT / "doc/source/errors.rst").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the files as they are now, built without network, as from a source archive."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for file in tracked():
        target = tree / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)
    pip = f"{sys.executable} -m pip wheel -q --no-deps --no-build-isolation --no-index".split()
    environment = {**os.environ, "PBR_VERSION": "1.2.3"}
    subprocess.run([*pip, "-w", out, tree], check=True, env=environment, timeout=300)
    (built,) = out.glob("*.whl")
    return built


def metadata_of(wheel: Path) -> Message:
    """The wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


class TestWheel:
    """Guards what a user installs."""

    def test_a_plain_install_pulls_pbr_alone(self, wheel: Path) -> None:
        required = metadata_of(wheel).get_all("Requires-Dist", [])
        plain = [text for text in required if "extra ==" not in text]
        assert [re.split(r"[^\w-]", text, maxsplit=1)[0] for text in plain] == ["pbr"]

    def test_libvirt_is_in_its_own_extra(self, wheel: Path) -> None:
        required = metadata_of(wheel).get_all("Requires-Dist", [])
        libvirt = [text for text in required if text.startswith("libvirt")]
        assert [re.findall(r"extra == .(\w+)", text) for text in libvirt] == [["libvirt"]]

    def test_extras(self, wheel: Path) -> None:
        extras = metadata_of(wheel).get_all("Provides-Extra", [])
        assert set(extras) == {"dom0", "libvirt", "lab", "test", "docs"}

    def test_every_file_of_the_package_is_in_it(self, wheel: Path) -> None:
        ours = {
            str(file.relative_to(ROOT)) for file in tracked() if ROOT / "remus_ha" in file.parents
        }
        with zipfile.ZipFile(wheel) as archive:
            assert ours - set(archive.namelist()) == set()
