"""The bash completion is the parser's, and completes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILE = ROOT / "etc" / "bash-completion" / "remus-ha"
ASK = """
source "$0"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_remus_ha
printf '%s\\n' "${COMPREPLY[@]}"
"""


def test_the_file_is_what_the_parser_says() -> None:
    """Else run: tools/completion >etc/bash-completion/remus-ha"""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "completion"], capture_output=True, text=True, check=True
    )
    assert FILE.read_text() == done.stdout


# A guest's name that bash would run: it names a file that the test would find.
EVIL = "printf '%s 3\\n' '$(touch${IFS}we-were-here)'\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["pro"], {"protect"}),
        (["disk", ""], {"verify", "recover", "-h", "--help"}),
        (["protect", "--tls", ""], {"required", "opportunistic", "disabled"}),
        (["protect", "-i", ""], {""}),
        (["protect", "-N", "etc/netbuf/"], {"etc/netbuf/remus-ha-netbuf"}),
        (["protect", "-i", "5", "--det"], {"--detect", "--detach"}),
        (["failover", "we"], {"web1", "web2"}),
        (["witness", "claim", "--f"], {"--fenced"}),
        (["bundle", "-o", "tool"], {"tools"}),
        (["nonsense", "--tls", ""], {"protect"}),
    ],
)
def test_what_is_offered(words: list[str], offered: set[str], tmp_path: Path) -> None:
    xl = tmp_path / "xl"
    xl.write_text("#!/bin/sh\nprintf 'Name ID\\nDomain-0 0\\nweb1 1\\nweb2 2\\n'\n" + EVIL)
    xl.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", ASK, FILE, "remus-ha", *words],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert not (ROOT / "we-were-here").exists()
    found = set(done.stdout.split("\n")) - {""} or {""}
    assert offered <= found
    if words[0] != "nonsense":
        assert found == offered
