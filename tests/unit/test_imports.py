"""The per-guest processes stay small: what they import, at their start and later on."""

import ast
import configparser
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from remus_ha import loading

ROOT = Path(__file__).parents[2]
PACKAGES = "checkpoint receive stream netbuf hypervisor core witness disk hotplug".split()
OPENSTACK = (
    r"oslo|oslo_\w+|stevedore|keystone\w*|openstack\w*|osc_lib|nova|neutron\w*|cinder\w*|"
    r"glance\w*|placement|masakari\w*|os_\w+|cliff|futurist|debtcollector|pbr|etcd3gw|requests"
)
PROCESSES = (
    *("remus_ha.checkpoint.guardian", "remus_ha.checkpoint.__main__"),
    *("remus_ha.receive.keeper", "remus_ha.receive.__main__"),
)
# Whoever starts one as a copy of itself (``remus_ha.forked``) hands on what it has loaded.
STARTERS = (
    *("remus_ha.cmd.remus_ha", "remus_ha.cmd.protect", "remus_ha.cmd.view"),
    *("remus_ha.checkpoint.arrange", "remus_ha.cmd.receive"),
)
DRIVERS = [entry.partition(":")[0] for entry in loading._OWN.values()]
SERVERS = (
    *("remus_ha.disk.store.nbd", "remus_ha.disk.store.recover"),
    *("remus_ha.disk.tapdisk.proxy", "remus_ha.disk.tapdisk.classic.daemon"),
)
# Where a function imports them, when it runs.
LATER = ("pyroute2", "cryptography.x509", "qemu.qmp", "setproctitle")
LIBRARIES = {"cryptography", "nbd", "nbdkit", "pyroute2", "qemu", "setproctitle", "xen"}

# The two libraries are the distribution's alone; whoever names a type of theirs needs no more.
IMPORTED = """
import importlib, json, pkgutil, sys, types
for name in ("nbd", "nbdkit"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__getattr__ = lambda name: object
before = set(sys.modules)
for name in sys.argv[1:]:
    imported = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(imported, "__path__", ()), name + "."):
        if name.startswith("remus_ha."):
            importlib.import_module(module.name)
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def imported_by(*names: str) -> list[str]:
    """What a fresh interpreter has more after it imported these, and all modules of ours below."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *names], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout)
    return modules


def openstack(modules: list[str]) -> list[str]:
    return [name for name in modules if re.fullmatch(rf"({OPENSTACK})(\..*)?", name)]


def libraries(modules: list[str]) -> set[str]:
    """Those that are neither Python's own nor ours."""
    tops = {name.partition(".")[0] for name in modules}
    return tops - sys.stdlib_module_names - {"remus_ha"}


def written_in(module: str) -> list[str]:
    """What the import statements of a module of ours name, those inside of functions too."""
    base = ROOT / Path(*module.split("."))
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_of_a_per_guest_package_imports_openstack(package: str) -> None:
    modules = imported_by(f"remus_ha.{package}")
    assert f"remus_ha.{package}" in modules
    assert openstack(modules) == []


@pytest.mark.parametrize("process", [*PROCESSES, *STARTERS])
def test_a_process_starts_with_python_alone(process: str) -> None:
    modules = imported_by(process)
    assert process in modules
    assert libraries(modules) == set()


@pytest.mark.parametrize("driver", [*DRIVERS, *SERVERS])
def test_a_driver_or_a_server_starts_with_no_more_than_qemus_monitor(driver: str) -> None:
    modules = imported_by(driver)
    assert driver in modules
    assert libraries(modules) <= {"qemu"}


def test_what_they_import_later_is_no_openstack_library_either() -> None:
    modules = imported_by(*PROCESSES, *STARTERS, *DRIVERS, *SERVERS)
    ours = [name for name in modules if name.startswith("remus_ha.")]
    named = {name: libraries(written_in(name)) - LIBRARIES for name in ours}
    only_the_front_end_looks_drivers_up = {"remus_ha.loading": {"stevedore"}}
    nor_do_they_ask_libvirt = {"remus_ha.hypervisor.libvirt.connection": {"libvirt"}}
    not_while_it_runs = {"remus_ha.witness.wire": {"_typeshed"}}
    assert {name: tops for name, tops in named.items() if tops} == {
        **only_the_front_end_looks_drivers_up,
        **nor_do_they_ask_libvirt,
        **not_while_it_runs,
    }
    assert openstack(imported_by(*LATER)) == []


def test_the_search_would_find_one() -> None:
    modules = imported_by("stevedore")
    assert "stevedore" in openstack(modules)
    assert "stevedore" in libraries(modules)
    assert "stevedore" in written_in("remus_ha.loading")


def test_every_entry_point_loads() -> None:
    names = configparser.ConfigParser()
    names.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = [
        metadata.EntryPoint(*(part.strip() for part in line.split("=", 1)), group)
        for group, text in names["entry_points"].items()
        for line in text.splitlines()
        if line
    ]
    assert len(listed) >= 5
    for entry in listed:
        assert callable(entry.load()), entry
