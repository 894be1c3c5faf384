"""Sphinx directive ``remus-commands``: a command line with its commands, from its own parser."""

import argparse
import importlib
from collections.abc import Iterator

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class RemusCommands(SphinxDirective):
    """A section per command. The argument is ``module:function``, the function makes the parser."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, function = self.arguments[0].partition(":")
        parser: argparse.ArgumentParser = getattr(importlib.import_module(module), function)()
        return [self._section(path, p) for path, p in commands(parser, parser.prog)]

    def _section(self, path: str, p: argparse.ArgumentParser) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(path)])
        section += nodes.title("", path)
        section += nodes.literal_block("", usage(p))
        if p.description:
            section += nodes.paragraph("", p.description)
        shown = [action for action in p._actions if action.help != argparse.SUPPRESS]
        entries = [self._entry(action, p) for action in shown if not is_verbs(action)]
        if entries:
            section += nodes.definition_list("", *entries)
        return section

    def _entry(
        self, action: argparse.Action, p: argparse.ArgumentParser
    ) -> nodes.definition_list_item:
        term = nodes.term("", "", nodes.literal("", invocation(action)))
        text = (action.help or "") % {**vars(action), "prog": p.prog}
        return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", text)))


def is_verbs(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def commands(
    p: argparse.ArgumentParser, path: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Each one that does something, in the order of ``--help``."""
    verbs = [action for action in p._actions if isinstance(action, argparse._SubParsersAction)]
    if not verbs:
        yield path, p
    for action in verbs:
        for name, inner in action.choices.items():
            yield from commands(inner, f"{path} {name}")


def usage(p: argparse.ArgumentParser) -> str:
    return p.format_usage().removeprefix("usage: ").strip()


def invocation(action: argparse.Action) -> str:
    """As ``--help`` shows it: ``-o, --output FILE``."""
    if not action.option_strings:
        return str(action.metavar or action.dest)
    value = ""
    if action.nargs != 0:
        choices = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""
        value = f" {action.metavar or choices or action.dest.upper()}"
    return ", ".join(action.option_strings) + value


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("remus-commands", RemusCommands)
    return {"parallel_read_safe": True}
