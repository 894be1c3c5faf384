"""The host's configuration file: what it says, what it leaves out, what cannot be read."""

from pathlib import Path

import pytest

from remus_ha import conf
from remus_ha.conf import ConfigBroken


@pytest.fixture(name="path", autouse=True)
def _path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "remus-ha.conf"
    monkeypatch.setattr(conf, "PATH", path)
    return path


def test_without_a_file_nothing_is_said() -> None:
    assert conf.text("witness", "url") is None
    assert conf.number("backup", "memory_mib") is None


def test_what_is_not_in_the_file_is_not_said(path: Path) -> None:
    path.write_text("[backup]\nmemory_mib = 0\n")
    assert conf.number("backup", "memory_mib") == 0
    assert conf.number("backup", "keep_free_mib") is None
    assert conf.number("replication", "link_mbit_s") is None


@pytest.mark.parametrize("value", ["-1", "1.5", "1 GiB", "", "٣", "%(x)s"])
def test_what_is_no_number_is_refused_and_named(path: Path, value: str) -> None:
    path.write_text(f"[backup]\nmemory_mib = {value}\n")
    with pytest.raises(ConfigBroken, match="memory_mib") as caught:
        conf.number("backup", "memory_mib")
    assert str(path) in str(caught.value)
