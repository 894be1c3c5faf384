"""The libvirt definition of a lab guest: the same guest as ``xlconfig`` renders for xl. Pure."""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from remus_ha.lab.plan import GuestPlan
from remus_ha.lab.xlconfig import BRIDGE, DiskSpec, GuestSpec, command_line


def render(spec: GuestSpec, plan: GuestPlan) -> str:
    """A ``<domain>`` (https://libvirt.org/formatdomain.html)."""
    domain = Element("domain", type="xen")
    _text(domain, "name", spec.name)
    SubElement(domain, "memory", unit="MiB").text = str(spec.memory)
    _text(domain, "vcpu", str(spec.vcpus))
    system = SubElement(domain, "os")
    SubElement(system, "type", arch="x86_64", machine="xenpvh").text = "xenpvh"
    _text(system, "kernel", spec.kernel)
    _text(system, "initrd", spec.ramdisk)
    _text(system, "cmdline", command_line(spec, plan))
    SubElement(SubElement(domain, "clock", offset="utc"), "timer", name="tsc", mode="native")
    _text(domain, "on_poweroff", "destroy")
    _text(domain, "on_reboot", "restart")
    _text(domain, "on_crash", "preserve")
    devices = SubElement(domain, "devices")
    for vif in range(spec.vifs):
        _add_vif(devices, plan.mac(vif), spec.vif_script)
    for disk in spec.disks:
        _add_disk(devices, spec.name, disk)
    SubElement(devices, "console", type="pty")
    indent(domain)
    return tostring(domain, encoding="unicode") + "\n"


def _text(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text


def _add_vif(devices: Element, mac: str, script: str) -> None:
    interface = SubElement(devices, "interface", type="bridge")
    SubElement(interface, "mac", address=mac)
    SubElement(interface, "source", bridge=BRIDGE)
    if script:
        SubElement(interface, "script", path=script)


def _add_disk(devices: Element, guest: str, disk: DiskSpec) -> None:
    block = bool(disk.device)
    element = SubElement(devices, "disk", type="block" if block else "file", device="disk")
    driver = "qemu" if disk.backend == "qdisk" else disk.backend
    SubElement(element, "driver", name=driver, type=disk.format)
    if block:
        SubElement(element, "source", dev=disk.device)
    else:
        SubElement(element, "source", file=disk.file(guest))
    SubElement(element, "target", dev=disk.vdev, bus="xen")
    if disk.readonly:
        SubElement(element, "readonly")
