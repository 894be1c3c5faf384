"""The emulator's copy: one instruction less, and nothing else."""

from pathlib import Path

import pytest

from remus_ha.lab import emulator

# helper_vmrun of Debian 12's QEMU 7.2.22 around the injection of an interrupt.
STORE = bytes.fromhex("89b354efffff")  # mov %esi,-0x10ac(%rbx)
INJECTION = (
    bytes.fromhex("410fb6f4 4489ab80330000")
    + STORE
    + bytes.fromhex(
        "c7838433000000000000 48c78388330000ffffffff f605ba45b60002 0f856c010000"
        "ba01000000 4889df e8a74f0500"
    )
)
AROUND = b"before", b"after"


def program(*middle: bytes) -> bytes:
    return AROUND[0] + b"--".join(middle) + AROUND[1]


def test_what_leaves_the_number_behind_does_nothing() -> None:
    mended = emulator.mend(program(INJECTION))
    nothing = bytes.fromhex("660f1f440000")
    assert mended == program(INJECTION.replace(STORE, nothing))


@pytest.mark.parametrize("times", [0, 2])
def test_a_program_that_is_not_known_stays_as_it_is(times: int) -> None:
    assert emulator.mend(program(*[INJECTION] * times)) is None


def test_an_exception_that_is_to_be_raised_is_left_alone() -> None:
    """Another case of the same function: it jumps into the loop instead of a call."""
    raised = INJECTION.replace(bytes.fromhex("ba01000000 4889df e8a74f0500"), b"")
    assert emulator.mend(program(raised)) is None


def installed(prefix: Path, content: bytes) -> Path:
    """A QEMU as a distribution installs it."""
    own = prefix / "bin" / emulator.NAME
    own.parent.mkdir(parents=True)
    (prefix / "lib64").mkdir()
    own.write_bytes(content)
    own.chmod(0o755)
    return own


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMUS_HA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "usr" / "bin"))


def test_the_copy_is_made_once_and_finds_its_modules(tmp_path: Path) -> None:
    own = installed(tmp_path / "usr", program(INJECTION))
    first = emulator.ensure()
    assert emulator.is_mended(first)
    assert first.read_bytes() == emulator.mend(own.read_bytes())
    assert first.stat().st_mode & 0o111
    assert (first.parent.parent / "lib64").resolve() == tmp_path / "usr" / "lib64"
    made = first.stat().st_ino
    assert emulator.ensure().stat().st_ino == made


def test_one_that_is_not_known_is_run_where_it_is(tmp_path: Path) -> None:
    own = installed(tmp_path / "usr", program())
    assert not emulator.is_mended(emulator.ensure())
    assert emulator.ensure().resolve() == own


def test_another_version_gets_a_copy_of_its_own(tmp_path: Path) -> None:
    own = installed(tmp_path / "usr", program(INJECTION))
    first = emulator.ensure()
    own.write_bytes(program(INJECTION, b"newer"))
    assert emulator.ensure() != first
    assert first.exists(), "a running lab boots hosts with it"
