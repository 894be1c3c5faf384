"""The images a lab host boots from, built once and cached.

Two cache entries: ``base`` (the dom0 root disk, Xen and the kernels; minutes to build) and
``parts`` (dom0's small initrd with everything of ours, the standard guest; a second). A change
of our own files rebuilds only the second: dom0's initrd copies ``overlay/`` onto the root disk
at every boot.
"""

import gzip
import lzma
import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from remus_ha.lab import cache, cc, guest_image
from remus_ha.lab.apt import proxy_options, sources_for
from remus_ha.lab.errors import StepFailed
from remus_ha.lab.initrd import collect_modules, pack
from remus_ha.lab.progress import Progress
from remus_ha.lab.run import run

RELEASE = "bookworm"
XEN = "4.17"
PACKAGES = (
    f"xen-hypervisor-{XEN}-amd64 xen-utils-{XEN} xenstore-utils linux-image-amd64 iproute2 "
    "openssh-server python3 kmod socat ethtool procps busybox-static tcpdump strace "
    "libvirt-daemon-system libvirt-daemon-driver-xen libvirt-clients python3-libvirt "
    "python3-pyroute2 python3-stevedore python3-pbr python3-cryptography python3-setproctitle gdb "
    "iputils-ping qemu-system-xen nbdkit nbdkit-plugin-python python3-libnbd qemu-utils nbd-client "
    "e2fsprogs"
).split()
_NO_FILES = tuple(
    f"path-exclude={path}"
    for path in (
        "/usr/share/doc/*",
        "/usr/share/man/*",
        "/usr/share/info/*",
        "/usr/share/locale/*",
        "/lib/modules/*/kernel/sound/*",
        # 80 MB that come with nbdkit's Python plugin
        "/usr/lib/python3/dist-packages/botocore/data/*",
        *(
            f"/lib/modules/*/kernel/drivers/{name}/*"
            for name in "gpu media iio staging infiniband net/wireless net/ethernet".split()
        ),
    )
)
_DISK_BYTES = 4 << 30
_KEPT_BASES = 2
_KEPT_PARTS = 8
_BASE_MODULES = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
FILES = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class Images:
    """Paths of everything a host is started with."""

    disk: Path
    xen: Path
    kernel: Path
    initrd: Path
    ssh_key: Path


def ensure(progress: Progress) -> Images:
    """The images, from the cache or built now."""

    def build_base(place: Path) -> None:
        _build_base(place, progress)

    def build_parts(place: Path) -> None:
        _build_parts(place, base, progress)

    base = cache.entry("base", _base_key(), build_base, keep=_KEPT_BASES)
    parts = cache.entry("parts", _parts_key(base), build_parts, keep=_KEPT_PARTS)
    return Images(
        disk=base / "disk.raw",
        xen=base / "xen",
        kernel=base / "vmlinux",
        initrd=parts / "dom0.img",
        ssh_key=parts / "id_ed25519",
    )


def _base_key() -> str:
    return cache.key_of(
        [
            *(RELEASE, XEN, *PACKAGES, *_NO_FILES, str(_DISK_BYTES)),
            *(*_BASE_MODULES, *guest_image.MODULES, *guest_image.EXT4_MODULES),
            FILES / "base-hook.sh",
        ]
    )


def _parts_key(base: Path) -> str:
    ours = (file for file in sorted(FILES.rglob("*")) if file.is_file())
    return cache.key_of(
        [
            base.name,
            *cc.FLAGS,
            *(item for file in ours for item in _identity(file)),
            *guest_image.inputs(),
        ]
    )


def _identity(file: Path) -> tuple[str | Path, ...]:
    return str(file.relative_to(FILES)), oct(file.stat().st_mode), file


def _build_base(place: Path, progress: Progress) -> None:
    tree = place / "tree"
    with progress.step("build dom0's root tree (1 to 2 minutes)"):
        _bootstrap(tree, progress)
    with progress.step("make dom0's disk"):
        kernel = next((tree / "boot").glob("vmlinuz-*"))
        (place / "vmlinux").write_bytes(uncompressed_kernel(kernel.read_bytes()))
        (tree / "lab").mkdir()
        shutil.copy(place / "vmlinux", tree / "lab" / "vmlinux")
        (place / "xen").write_bytes(
            gzip.decompress((tree / "boot" / f"xen-{XEN}-amd64.gz").read_bytes())
        )
        release = kernel.name.removeprefix("vmlinuz-")
        collect_modules(tree, release, _BASE_MODULES, place / "modules")
        collect_modules(tree, release, guest_image.MODULES, place / "guest-modules")
        collect_modules(tree, release, guest_image.EXT4_MODULES, place / "guest-ext4")
        _make_disk(tree, place / "disk.raw")
        shutil.rmtree(tree)


def _bootstrap(tree: Path, progress: Progress) -> None:
    command = [
        *("mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(PACKAGES)}"),
        *("--aptopt=Acquire::Languages none", "--aptopt=APT::Install-Recommends false"),
        *(f"--aptopt={option}" for option in proxy_options()),
        *(f"--dpkgopt={option}" for option in _NO_FILES),
        f"--customize-hook={FILES / 'base-hook.sh'}",
        *(RELEASE, str(tree), *map(str, sources_for(RELEASE))),
    ]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "INITRD": "No", "DEBIAN_FRONTEND": "noninteractive"},
    ) as child:
        assert child.stderr is not None
        lines = []
        for line in child.stderr:
            lines.append(line)
            if line.startswith("I: "):
                progress.say(f"  {line[3:].strip()}")
    if child.returncode != 0:
        raise StepFailed(
            command="mmdebstrap", status=child.returncode, output="".join(lines[-20:]).strip()
        )


def uncompressed_kernel(image: bytes) -> bytes:
    """The ELF file inside a bzImage whose payload is xz, else the image as it is.

    Loading an ELF spares the emulated hypervisor the decompression, which costs seconds. The
    payload's place is in the boot protocol's header (Documentation/arch/x86/boot.rst).
    """
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if not payload.startswith(b"\xfd7zXZ\0"):
        return image
    return lzma.LZMADecompressor().decompress(payload)


def _make_disk(tree: Path, disk: Path) -> None:
    with open(disk, "wb") as file:
        file.truncate(_DISK_BYTES)
    options = ["-O", "^has_journal,^metadata_csum", "-m", "0", "-d", tree]
    run(["mkfs.ext4", "-q", *map(str, options), disk], timeout_s=300)


def _build_parts(place: Path, base: Path, progress: Progress) -> None:
    with progress.step("build the standard guest and dom0's initrd"):
        key = place / "id_ed25519"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "remus-lab", "-f", key])
        work = place / "work"
        shutil.copytree(base / "modules", work / "modules")
        shutil.copy("/bin/busybox", work / "busybox")
        shutil.copy(FILES / "initrd-init", work / "init")
        _fill_overlay(work / "overlay", place)
        images = work / "overlay" / "lab"
        guest_image.build(base / "guest-modules", images / "guest.img")
        guest_image.build_with_disks(
            images / "guest.img", base / "guest-ext4", images / "guest-disks.img"
        )
        pack(work, place / "dom0.img")
        shutil.rmtree(work)


def _fill_overlay(overlay: Path, place: Path) -> None:
    shutil.copytree(FILES / "overlay", overlay)
    cc.compile_static(FILES / "wake.c", overlay / "usr" / "sbin" / "lab-wake")
    ssh = overlay / "root" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    shutil.copy(place / "id_ed25519.pub", ssh / "authorized_keys")
    shutil.copy(place / "id_ed25519", ssh / "id_ed25519")
    shutil.copy(FILES / "ssh-config", ssh / "config")
    for file in ssh.iterdir():
        file.chmod(0o600)
    host_key = overlay / "etc" / "ssh" / "ssh_host_ed25519_key"
    shutil.copy(place / "id_ed25519", host_key)
    host_key.chmod(0o600)
