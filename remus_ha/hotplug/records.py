"""What the rest of the product uses of this package."""

from remus_ha.hotplug.script import SCRIPT, own_script, records_of, substitute
from remus_ha.hotplug.store import VifRecord, VifState, forget, keep, read, records, write
from remus_ha.hotplug.vifs import device_name, open_vif, shut_vif

__all__ = [
    "SCRIPT",
    "VifRecord",
    "VifState",
    "device_name",
    "forget",
    "keep",
    "open_vif",
    "own_script",
    "read",
    "records",
    "records_of",
    "shut_vif",
    "substitute",
    "write",
]
