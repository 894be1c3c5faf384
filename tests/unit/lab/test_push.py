import io
import subprocess
import sys
import tarfile
from pathlib import Path

from remus_ha.lab.push import Checkout

PYTHON = sys.version_info[:2]
SETUP = """[entry_points]
console_scripts =
    tool = remus_ha.tool:main
    remus-lab = remus_ha.lab.cli:main
remus_ha.things =
    one = remus_ha.tool:One
"""


def checkout(root: Path) -> Checkout:
    package = root / "remus_ha"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__pycache__" / "old.pyc").write_text("")
    (package / "__init__.py").write_text("")
    (package / "tool.py").write_text("def main():\n    print('hello')\n    return 3\n")
    (package / "script").write_text("#!/bin/sh\n")
    (package / "script").chmod(0o755)
    (root / "setup.cfg").write_text(SETUP)
    return Checkout(root)


def unpack(made: Checkout, place: Path, python: tuple[int, int] = PYTHON) -> None:
    with tarfile.open(fileobj=io.BytesIO(made.archive(made._sources(), python))) as tar:
        tar.extractall(place, filter="fully_trusted")


def test_what_arrives_runs_and_has_entry_points(tmp_path: Path) -> None:
    unpack(checkout(tmp_path / "from"), tmp_path / "to")
    packages = tmp_path / "to" / "usr" / "lib" / "python3" / "dist-packages"
    script = tmp_path / "to" / "usr" / "bin" / "tool"
    ran = subprocess.run(
        [sys.executable, script],
        env={"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
    )
    assert (ran.returncode, ran.stdout) == (3, "hello\n")
    code = (
        "import importlib.metadata as m; "
        "print([e.value for e in m.entry_points(group='remus_ha.things')], m.version('remus_ha'))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(packages)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "['remus_ha.tool:One'] 0\n"


def test_data_files_keep_their_mode_and_old_bytecode_stays_behind(tmp_path: Path) -> None:
    unpack(checkout(tmp_path / "from"), tmp_path / "to")
    package = tmp_path / "to" / "usr" / "lib" / "python3" / "dist-packages" / "remus_ha"
    assert (package / "script").stat().st_mode & 0o111
    assert not (package / "__pycache__" / "old.pyc").exists()
    assert list((package / "__pycache__").glob("tool.*.pyc"))
    assert not (tmp_path / "to" / "usr" / "bin" / "remus-lab").exists()


def test_a_host_with_another_python_gets_no_bytecode_of_ours(tmp_path: Path) -> None:
    unpack(checkout(tmp_path / "from"), tmp_path / "to", (PYTHON[0], PYTHON[1] + 1))
    assert not list((tmp_path / "to").rglob("*.pyc"))


def test_the_stamp_follows_every_file(tmp_path: Path) -> None:
    made = checkout(tmp_path)
    first = made._stamp(made._sources())
    assert made._stamp(made._sources()) == first
    (tmp_path / "remus_ha" / "tool.py").write_text("changed")
    assert made._stamp(made._sources()) != first
