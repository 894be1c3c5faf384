"""libvirt's XML as it is while a guest is protected, on the other host, and in a status file."""

from xml.etree import ElementTree

import pytest

from remus_ha.hypervisor.libvirt import definition
from remus_ha.hypervisor.libvirt.errors import DefinitionBroken

OURS = "/usr/lib/remus/vif-remus"
LIVE = """
<domain type='xen' id='3'>
  <name>web1</name>
  <uuid>6a1f3c5e-0000-4000-8000-00000000000a</uuid>
  <devices>
    <disk type='file' device='disk'>
      <source file='/images/web1.img'/><target dev='xvda' bus='xen'/>
    </disk>
    <disk type='block' device='disk'>
      <source dev='/dev/vg/web1'/><target dev='xvdb' bus='xen'/>
    </disk>
    <disk type='file' device='cdrom'><target dev='xvdc' bus='xen'/></disk>
    <interface type='bridge'>
      <mac address='00:16:3E:00:00:0A'/><source bridge='xenbr0'/><script path='vif-own'/>
      <target dev='vif3.0'/>
    </interface>
    <interface type='bridge'>
      <mac address='00:16:3e:00:00:0b'/><source bridge='xenbr0'/>
    </interface>
    <interface type='network'>
      <mac address='00:16:3e:00:00:0c'/><source network='default'/>
    </interface>
    <console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/><target type='xen'/></console>
  </devices>
</domain>
"""


def of(text: str, path: str, attribute: str) -> list[str | None]:
    return [element.get(attribute) for element in ElementTree.fromstring(text).iterfind(path)]


def test_a_guarded_definition_brings_its_vifs_up_by_our_script() -> None:
    text = definition.guarded(LIVE, OURS)
    assert of(text, "devices/interface/script", "path") == [OURS, OURS]
    assert definition.unguarded(text) == ["00:16:3e:00:00:0c"]


def test_disks_lie_where_this_host_has_them() -> None:
    text = definition.moved(LIVE, {"xvda": "/srv/web1.img", "xvdb": "/dev/other", "xvdc": "/x"})
    assert of(text, "devices/disk/source", "file") == ["/srv/web1.img", None]
    assert of(text, "devices/disk/source", "dev") == [None, "/dev/other"]
    assert definition.moved(LIVE, {}) == definition.moved(definition.moved(LIVE, {}), {})


def test_the_status_of_a_domain_that_libvirt_did_not_start() -> None:
    vifs = {"00:16:3e:00:00:0a": "vif9.0", "00:16:3e:00:00:0b": "web1-net"}
    text = definition.status(LIVE, domid=9, vifs=vifs, console="/dev/pts/7")
    whole = ElementTree.fromstring(text)
    assert (whole.tag, whole.get("state"), whole.get("reason")) == (
        "domstatus",
        "running",
        "booted",
    )
    assert of(text, "domain", "id") == ["9"]
    assert of(text, "domain/devices/interface/target", "dev") == ["vif9.0", "web1-net"]
    assert of(text, "domain/devices/console", "tty") == ["/dev/pts/7"]
    assert of(text, "domain/devices/console/source", "path") == ["/dev/pts/7"]


def test_a_domain_without_a_console_has_no_terminal_of_another_host() -> None:
    text = definition.status(LIVE, domid=9, vifs={}, console="")
    assert of(text, "domain/devices/console", "tty") == [None]
    assert of(text, "domain/devices/console/source", "path") == []


@pytest.mark.parametrize("text", ["", "<domain>", "<network/>"])
def test_what_is_no_domain(text: str) -> None:
    with pytest.raises(DefinitionBroken):
        definition.moved(text, {})
