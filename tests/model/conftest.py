"""What the model's tests share: words that are shown although pytest captures output."""

from collections.abc import Callable

import pytest


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a line that is seen without ``-s``."""

    def speak(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="", flush=True)

    return speak
