"""Which hotplug script a started copy's vifs would get, and whether the host starts one itself."""

from pathlib import Path

import pytest

from remus_ha.hotplug.script import SCRIPT
from remus_ha.hotplug.starts import Files, at_boot, by_hand

NAME, UUID = "web1", "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c11"
OURS = f'vif.default.script="{SCRIPT}"\n'
GUEST = 'name = "web1"\nvif = [ "mac=00:16:3e:00:00:50,bridge=br0{more}" ]\n'
LIBVIRTS = """
<domain type='xen'>
  <name>{name}</name><uuid>{uuid}</uuid>
  <devices>
    <interface type='bridge'><mac address='00:16:3e:00:00:50'/>{script}</interface>
  </devices>
</domain>
"""


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A host that starts nothing and whose xl.conf is as it came."""
    files = Files(tmp_path / "xl.conf", tmp_path / "auto", tmp_path / "libvirt")
    files.auto.mkdir()
    (files.libvirt / "autostart").mkdir(parents=True)
    files.xl_conf.write_text('#vif.default.script="vif-bridge"\n')
    return files


def define(files: Files, script: str = "", name: str = NAME, uuid: str = UUID) -> None:
    """As libvirt keeps a guest."""
    text = LIBVIRTS.format(name=name, uuid=uuid, script=script)
    (files.libvirt / f"{name}.xml").write_text(text)


def autostart(files: Files) -> None:
    """As ``virsh autostart`` does."""
    (files.libvirt / "autostart" / f"{NAME}.xml").symlink_to(files.libvirt / f"{NAME}.xml")


def test_nothing_is_started_at_boot(files: Files, tmp_path: Path) -> None:
    define(files)
    assert at_boot(NAME, UUID, files) is None
    assert at_boot(NAME, UUID, Files(*(tmp_path / "nowhere" / x for x in "abc"))) is None


@pytest.mark.parametrize("linked", [True, False])
def test_xendomains_starts_it_open(files: Files, tmp_path: Path, linked: bool) -> None:
    entry = files.auto / "10-web1"
    if linked:
        (tmp_path / "web1.cfg").write_text(GUEST.format(more=""))
        entry.symlink_to(tmp_path / "web1.cfg")
    else:
        entry.write_text(GUEST.format(more=""))
    danger = at_boot(NAME, UUID, files)
    assert danger is not None
    assert danger.code == "VIF-006"
    assert str(entry) in str(danger)
    assert "'vif-bridge'" in str(danger)
    assert f'vif.default.script="{SCRIPT}"' in danger.advice
    files.xl_conf.write_text(OURS)
    assert at_boot(NAME, UUID, files) is None


def test_the_last_line_of_xl_conf_counts(files: Files) -> None:
    (files.auto / "web1").write_text(GUEST.format(more=""))
    files.xl_conf.write_text(f'{OURS}vif.default.script="vif-bridge"\n')
    assert at_boot(NAME, UUID, files) is not None
    files.xl_conf.write_text(f'vif.default.script="vif-bridge"\n{OURS}#vif.default.script=""\n')
    assert at_boot(NAME, UUID, files) is None


def test_a_script_of_the_vifs_own_counts_more_than_xl_conf(files: Files) -> None:
    (files.auto / "web1").write_text(GUEST.format(more=f",script={SCRIPT}"))
    assert at_boot(NAME, UUID, files) is None
    (files.auto / "web1").write_text(GUEST.format(more=",script=vif-openvswitch"))
    files.xl_conf.write_text(OURS)
    danger = at_boot(NAME, UUID, files)
    assert danger is not None
    assert "'vif-openvswitch'" in str(danger)
    assert "vif.default.script" not in danger.advice, "it would not be wrapped"


def test_one_open_vif_is_enough(files: Files) -> None:
    (files.auto / "web1").write_text(f'name="web1"\nvif=["script={SCRIPT}", ""]\n')
    assert at_boot(NAME, UUID, files) is not None
    (files.auto / "web1").write_text('name="web1"\n')
    assert at_boot(NAME, UUID, files) is None, "without vifs nothing gets out"


def test_a_guest_is_known_by_its_name_or_its_uuid(files: Files) -> None:
    (files.auto / "other").write_text('name = "web2"\nvif = [ "" ]\n')
    (files.auto / "rubbish").write_bytes(b"\xff\0[[[")
    (files.auto / "gone").symlink_to(files.auto / "nowhere")
    (files.auto / "folder").mkdir()
    assert at_boot(NAME, UUID, files) is None
    (files.auto / "other").write_text(f'name = "web2"\nuuid = "{UUID.upper()}"\nvif = [ "" ]\n')
    assert at_boot(NAME, UUID, files) is not None


def test_libvirt_starts_it_open_whatever_xl_conf_says(files: Files) -> None:
    files.xl_conf.write_text(OURS)
    define(files)
    autostart(files)
    danger = at_boot(NAME, UUID, files)
    assert danger is not None
    assert f"<script path='{SCRIPT}'/>" in danger.advice
    define(files, f"<script path='{SCRIPT}'/>")
    assert at_boot(NAME, UUID, files) is None


def test_libvirts_other_guests_are_left_alone(files: Files) -> None:
    define(files)
    autostart(files)
    define(files, name="web2", uuid="6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c12")
    (files.libvirt / "autostart" / "web0.xml").write_text("<domain><name>")
    assert at_boot("web2", "6a2e2a3e-8d4b-4b6c-9a57-0d8e6a1f0c12", files) is None


def test_by_hand_xl_takes_the_vifs_own_script_or_its_default(files: Files) -> None:
    warning = by_hand(NAME, UUID, [str(SCRIPT), ""], files)
    assert warning is not None
    assert warning.code == "VIF-007"
    assert "'vif-bridge'" in str(warning)
    files.xl_conf.write_text(OURS)
    assert by_hand(NAME, UUID, [str(SCRIPT), ""], files) is None
    assert by_hand(NAME, UUID, ["/etc/xen/scripts/vif-bridge"], files) is not None
    assert by_hand(NAME, UUID, [], files) is None


def test_by_hand_libvirt_takes_its_definition(files: Files) -> None:
    files.xl_conf.write_text(OURS)
    define(files)
    warning = by_hand(NAME, UUID, [str(SCRIPT)], files)
    assert warning is not None
    assert "<script path=" in warning.advice
    define(files, f"<script path='{SCRIPT}'/>")
    assert by_hand(NAME, UUID, [""], files) is None
