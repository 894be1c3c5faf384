import os
import threading
from pathlib import Path

import pytest

from remus_ha.lab import cache


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REMUS_HA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_key_changes_with_content_name_and_order(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one")
    first = cache.key_of(["x", file])
    assert cache.key_of(["x", file]) == first
    assert cache.key_of([file, "x"]) != first
    file.write_text("two")
    assert cache.key_of(["x", file]) != first
    other = tmp_path / "b"
    other.write_text("one")
    assert cache.key_of(["x", other]) != first


def test_inputs_do_not_run_together() -> None:
    assert cache.key_of(["ab", "c"]) != cache.key_of(["a", "bc"])


def test_entry_is_built_once(cache_root: Path) -> None:
    built = []

    def build(place: Path) -> None:
        built.append(place)
        (place / "file").write_text("content")

    for _ in range(2):
        place = cache.entry("thing", "k", build, keep=1)
    assert place == cache_root / "thing-k"
    assert (place / "file").read_text() == "content"
    assert len(built) == 1


def test_an_interrupted_build_leaves_nothing(cache_root: Path) -> None:
    def build(place: Path) -> None:
        (place / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.entry("thing", "k", build, keep=1)
    assert [path.name for path in cache_root.iterdir()] == [".thing.lock"]


def test_two_builders_build_once() -> None:
    built = []
    inside, go_on = threading.Event(), threading.Event()

    def build(place: Path) -> None:
        built.append(place)
        inside.set()
        assert go_on.wait(10)

    def ask() -> None:
        cache.entry("thing", "k", build, keep=1)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(built) == 1


def test_only_the_newest_entries_are_kept(cache_root: Path) -> None:
    for key in "abc":
        place = cache.entry("thing", key, lambda place: None, keep=2)
        stamp = ord(key)
        os.utime(place, (stamp, stamp))
    cache.entry("other", "a", lambda place: None, keep=1)
    assert {path.name for path in cache_root.glob("[a-z]*")} == {"thing-b", "thing-c", "other-a"}
