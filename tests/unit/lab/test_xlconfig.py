import ast

from remus_ha.lab.plan import GuestPlan
from remus_ha.lab.xlconfig import GuestSpec, render


def settings(spec: GuestSpec) -> dict[str, object]:
    text = render(spec, GuestPlan(spec.name, 51, spec.vifs))
    pairs = (line.split(" = ", 1) for line in text.splitlines())
    return {key: ast.literal_eval(value) for key, value in pairs}


def test_standard_guest() -> None:
    made = settings(GuestSpec("web", memory_mib=128))
    assert made["name"] == "web"
    assert made["type"] == "pvh"
    assert made["memory"] == 128
    assert made["tsc_mode"] == "native"
    endings = (made["on_poweroff"], made["on_reboot"], made["on_crash"])
    assert endings == ("destroy", "restart", "preserve")


def test_the_guest_learns_its_name_number_and_load() -> None:
    line = str(settings(GuestSpec("web", vifs=2, dirty_kib_s=7, options="loop_us=1000"))["cmdline"])
    assert {"name=web", "number=51", "vifs=2", "dirty_kib_s=7", "loop_us=1000"} <= set(line.split())


def test_each_vif_has_a_mac_and_the_quick_script() -> None:
    vifs = settings(GuestSpec("web", vifs=2))["vif"]
    assert vifs == [
        "mac=00:16:3e:00:00:33,bridge=xenbr0",
        "mac=00:16:3e:00:01:33,bridge=xenbr0",
    ]


def test_stock_scripts_are_named() -> None:
    vifs = settings(GuestSpec("web", stock_scripts=True))["vif"]
    assert vifs == ["mac=00:16:3e:00:00:33,bridge=xenbr0,script=vif-bridge"]
