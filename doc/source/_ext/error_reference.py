"""Sphinx directive ``remus-errors``: every error of the package, with code, cause and remedy."""

import importlib
import inspect
import pkgutil
from types import ModuleType

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import remus_ha
from remus_ha.exceptions import RemusError

# nbdkit's own module, and libnbd's: only the plugins' processes have them, and no error is theirs.
_ELSEWHERE = ("nbdkit", "nbd")


def modules() -> list[ModuleType]:
    """Every module of the package, imported. ``__main__`` modules run something: not these."""
    names = [m.name for m in pkgutil.walk_packages(remus_ha.__path__, "remus_ha.")]
    found = (_imported(n) for n in names if not n.endswith(".__main__"))
    return [module for module in found if module is not None]


def _imported(name: str) -> ModuleType | None:
    """None where it cannot be imported here at all."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name in _ELSEWHERE:
            return None
        raise


def errors() -> list[type[RemusError]]:
    """Every subclass of RemusError that has a code of its own, by code."""
    found = {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, RemusError) and "code" in vars(value)
    }
    return sorted(found, key=lambda error: (error.code, error.__qualname__))


class RemusErrors(SphinxDirective):
    """A definition list, one entry per code."""

    def run(self) -> list[nodes.Node]:
        return [nodes.definition_list("", *(self._entry(error) for error in errors()))]

    def _entry(self, error: type[RemusError]) -> nodes.definition_list_item:
        term = nodes.term("", "", nodes.literal("", error.code), nodes.Text(f" {error.__name__}"))
        target = nodes.target("", "", ids=[error.code.lower()])
        text = nodes.definition("", nodes.paragraph("", error.cause))
        text += nodes.paragraph("", "", nodes.strong("", "Remedy: "), nodes.Text(error.remedy))
        return nodes.definition_list_item("", target, term, text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("remus-errors", RemusErrors)
    return {"parallel_read_safe": True}
