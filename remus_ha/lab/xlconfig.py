"""The xl configuration of a lab guest. Pure."""

import json
from dataclasses import dataclass

from remus_ha.lab.plan import GuestPlan

KERNEL = "/lab/vmlinux"
INITRD = "/lab/guest.img"
STOCK_VIF_SCRIPT = "vif-bridge"
BRIDGE = "xenbr0"


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """What a guest shall be. ``options`` are words for the ledger program's command line."""

    name: str
    memory_mib: int = 96
    vcpus: int = 1
    vifs: int = 1
    kernel: str = KERNEL
    initrd: str = INITRD
    stock_scripts: bool = False
    dirty_kib_s: int = 1024
    dirty_mib: int = 4
    chatter_per_s: int = 20
    options: str = ""


def render(spec: GuestSpec, plan: GuestPlan) -> str:
    """The file's text; a JSON string or list is also one of xl's syntax (xl.cfg(5))."""
    settings: dict[str, object] = {
        "name": spec.name,
        "type": "pvh",
        "kernel": spec.kernel,
        "ramdisk": spec.initrd,
        "cmdline": _command_line(spec, plan),
        "memory": spec.memory_mib,
        "vcpus": spec.vcpus,
        "tsc_mode": "native",
        "vif": [_vif(plan, vif, spec.stock_scripts) for vif in range(spec.vifs)],
        "on_poweroff": "destroy",
        "on_reboot": "restart",
        "on_crash": "preserve",
    }
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())


def _command_line(spec: GuestSpec, plan: GuestPlan) -> str:
    words = [
        *("console=hvc0", "quiet", "mitigations=off", "net.ifnames=0", "panic=0"),
        *(f"name={spec.name}", f"number={plan.number}", f"vifs={spec.vifs}"),
        *(f"dirty_kib_s={spec.dirty_kib_s}", f"dirty_mib={spec.dirty_mib}"),
        f"chatter={spec.chatter_per_s}",
        spec.options,
    ]
    return " ".join(word for word in words if word)


def _vif(plan: GuestPlan, vif: int, stock: bool) -> str:
    # Without a name it is xl.conf's default, which ``push`` sets to the product's own.
    script = [f"script={STOCK_VIF_SCRIPT}"] if stock else []
    return ",".join([f"mac={plan.mac(vif)}", f"bridge={BRIDGE}", *script])
