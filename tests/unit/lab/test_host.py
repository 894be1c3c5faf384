import subprocess
from pathlib import Path

from remus_ha.lab.host import Host
from remus_ha.lab.image import Images
from remus_ha.lab.network import Network
from remus_ha.lab.plan import plan_hosts
from remus_ha.lab.qemu import HostFiles, Machine

SIZE = Machine(data_mib=64)


def host(place: Path) -> Host:
    images = Images(*(place / name for name in ("disk", "xen", "kernel", "initrd", "key")))
    files = HostFiles(place / "run", place / "a.qcow2")
    return Host(plan_hosts(1)[0], Network("remus-test-none"), images, files)


def test_the_data_disk_is_a_sparse_file_system_with_a_journal(tmp_path: Path) -> None:
    data = host(tmp_path).files.data
    host(tmp_path)._make_data(SIZE)
    assert data.stat().st_size == 64 << 20
    assert data.stat().st_blocks * 512 < 8 << 20
    shown = subprocess.run(["/sbin/dumpe2fs", "-h", data], capture_output=True, text=True)
    assert "has_journal" in shown.stdout
    assert [path.name for path in tmp_path.iterdir()] == [data.name]


def test_the_data_disk_outlives_everything_but_removal(tmp_path: Path) -> None:
    data = host(tmp_path).files.data
    host(tmp_path)._make_data(SIZE)
    with open(data, "r+b") as file:
        file.write(b"mark")
    host(tmp_path)._make_data(SIZE)
    host(tmp_path).cut()
    assert data.read_bytes()[:4] == b"mark"
    host(tmp_path).remove()
    assert not data.exists()
