"""Marks for whole directories of tests."""

from pathlib import Path

import pytest

_LAB = Path(__file__).parent / "lab"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything under tests/lab carries the mark ``lab``."""
    for item in items:
        if _LAB in item.path.parents:
            item.add_marker("lab")
