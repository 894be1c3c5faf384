"""Sphinx directive ``remus-states ROLE``: a transition table, generated from the product's own."""

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from remus_ha.core import backup, diagram, primary, returning

TABLES = {"primary": primary.TABLE, "backup": backup.TABLE, "returning": returning.TABLE}


class RemusStates(SphinxDirective):
    """Every row: state, event, condition, next state, actions, why."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = diagram.rst(TABLES[self.arguments[0]])
        container = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), "remus-states"), 0, container)
        return list(container.children)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("remus-states", RemusStates)
    return {"parallel_read_safe": True}
