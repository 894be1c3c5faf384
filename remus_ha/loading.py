"""Loading a driver by its import path, without any plug-in library.

The command line looks drivers up by entry point (stevedore) and hands their import paths to the
per-guest processes, which stay small.
"""

import importlib
from typing import Any

from remus_ha.exceptions import RemusError


class DriverMissing(RemusError):
    code = "REMUS-001"
    cause = "the driver {entry} cannot be loaded: {detail}"
    remedy = "Install the package that holds it, on this host as on the others."


def load(entry: str) -> Any:
    """The object named ``module:name``. Raises DriverMissing."""
    module, _, name = entry.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as e:
        raise DriverMissing(entry=entry, detail=e) from e


_OWN = {
    ("remus_ha.disk", "classic"): "remus_ha.disk.tapdisk.classic.driver:ClassicDisks",
    ("remus_ha.disk", "qemu"): "remus_ha.disk.qemu.driver:QemuDisks",
    ("remus_ha.disk", "tapdisk"): "remus_ha.disk.tapdisk.driver:TapdiskDisks",
    ("remus_ha.netbuf", "plug"): "remus_ha.netbuf.plug:PlugDriver",
    ("remus_ha.witness", "etcd"): "remus_ha.witness.etcd:EtcdWitness",
    ("remus_ha.witness", "none"): "remus_ha.witness.none:NoWitness",
}


def entry_point(namespace: str, name: str) -> str:
    """The import path of an installed driver. Front end only. Raises DriverMissing."""
    if (namespace, name) in _OWN:
        return _OWN[namespace, name]  # no look-up needed, and the library takes long to load
    from stevedore import ExtensionManager  # noqa: PLC0415  (kept out of per-guest processes)

    for found in ExtensionManager(namespace, invoke_on_load=False):
        if found.name == name:
            return f"{found.plugin.__module__}:{found.plugin.__qualname__}"
    raise DriverMissing(entry=f"{namespace}:{name}", detail="no such entry point")
