"""What a file in xl's syntax (xl.cfg(5), xl.conf(5)) sets. Pure.

Statements ``NAME = VALUE``, ended by a line's end or a semicolon, outside of a list; the last one
of a name counts, and ``+=`` adds to a list. Only strings and lists of strings are of interest:
anything else is left out.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<string>"[^"\n]*"|'[^'\n]*') | \#[^\n]* | (?P<mark>\+=|[=\[\];\n]) | (?P<name>[\w.]+)""",
    re.VERBOSE,
)
Settings = dict[str, tuple[str, ...]]


def settings(text: str) -> Settings:
    """The strings of every setting, one or a list's."""
    found: Settings = {}
    for name, mark, strings in _statements(text):
        found[name] = (*found.get(name, ()), *strings) if mark == "+=" else strings
    return found


def first(found: Settings, name: str) -> str:
    """A setting that is one string; empty where there is none."""
    return next(iter(found.get(name, ())), "")


def _statements(text: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Name, mark and strings of each."""
    name, mark, depth = "", "", 0
    strings: list[str] = []
    for token in _TOKEN.finditer(f"{text}\n"):
        kind, word = token.lastgroup, token[0]
        if kind == "string":
            strings.append(word[1:-1])
        elif kind == "name" and not mark:
            name = word
        elif word in ("=", "+=") and not mark:
            mark = word
        elif word in ("[", "]"):
            depth += 1 if word == "[" else -1
        elif word in (";", "\n") and depth <= 0:
            if mark and strings:
                yield name, mark, tuple(strings)
            name, mark, depth, strings = "", "", 0, []
