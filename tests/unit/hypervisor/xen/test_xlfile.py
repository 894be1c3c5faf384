"""xl's syntax, as far as it is read here: strings and lists of strings."""

import pytest

from remus_ha.hypervisor.xen.xlfile import first, settings


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('name = "web1"', {"name": ("web1",)}),
        ("name='web1' # the first", {"name": ("web1",)}),
        ('#name="web0"\nname="web1"', {"name": ("web1",)}),
        ('name="web1"\n#name="web2"', {"name": ("web1",)}),
        ('name="web0"; name="web1"', {"name": ("web1",)}),
        ('a = "x#y"', {"a": ("x#y",)}),
        ('vif.default.script="vif-remus"\n', {"vif.default.script": ("vif-remus",)}),
        ("vif = [ 'mac=a', \"mac=b\" ]", {"vif": ("mac=a", "mac=b")}),
        ("vif = [\n 'mac=a', # one\n 'b',\n]\nname='g'", {"vif": ("mac=a", "b"), "name": ("g",)}),
        ("vif = ['mac=a']\nvif += ['mac=b']", {"vif": ("mac=a", "mac=b")}),
        ("vif = ['']", {"vif": ("",)}),
        ('memory = 512\nname = "g"', {"name": ("g",)}),
        ('broken = [ "x"', {}),
        ("", {}),
        ("= = ] [ ;; \0", {}),
    ],
)  # fmt: skip
def test_strings_and_lists(text: str, wanted: dict[str, tuple[str, ...]]) -> None:
    assert settings(text) == wanted


def test_the_first_string_or_nothing() -> None:
    assert first(settings('name="g"'), "name") == "g"
    assert first({}, "name") == ""
