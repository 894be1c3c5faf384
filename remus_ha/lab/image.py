"""The images a lab host boots from, built once and cached.

Two cache entries: ``base`` (the dom0 root disk, Xen and the kernels; minutes to build) and
``parts`` (dom0's small initrd with everything of ours, the standard guest; a second). A change
of our own files rebuilds only the second: dom0's initrd copies ``overlay/`` onto the root disk
at every boot.
"""

import gzip
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from remus_ha.lab import cache, cc, guest_image
from remus_ha.lab.apt import proxy_options, sources_for
from remus_ha.lab.errors import StepFailed
from remus_ha.lab.initrd import collect_modules, pack
from remus_ha.lab.kernel import uncompressed_kernel
from remus_ha.lab.progress import Progress
from remus_ha.lab.release import Release
from remus_ha.lab.run import run

_NO_FILES = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "{modules}/*/kernel/sound/*",
    # 80 MB that come with nbdkit's Python plugin
    "/usr/lib/python3/dist-packages/botocore/data/*",
    *(
        f"{{modules}}/*/kernel/drivers/{name}/*"
        for name in "gpu media iio staging infiniband net/wireless net/ethernet".split()
    ),
)
_DISK_BYTES = 4 << 30
_KEPT_BASES = 4  # two releases
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


def ensure(release: Release, progress: Progress) -> Images:
    """The images of one release, from the cache or built now.

    Raises NoAptSources, NoArchiveKeys, StepFailed, TimedOut.
    """

    def build_base(place: Path) -> None:
        _build_base(place, release, progress)

    def build_parts(place: Path) -> None:
        _build_parts(place, base, progress)

    base = cache.entry("base", _base_key(release), build_base, keep=_KEPT_BASES)
    parts = cache.entry("parts", _parts_key(base), build_parts, keep=_KEPT_PARTS)
    return Images(
        disk=base / "disk.raw",
        xen=base / "xen",
        kernel=base / "vmlinux",
        initrd=parts / "dom0.img",
        ssh_key=parts / "id_ed25519",
    )


def _excluded(release: Release) -> list[str]:
    """dpkg's options for what no host needs."""
    return [f"path-exclude={path.format(modules=release.modules)}" for path in _NO_FILES]


def _base_key(release: Release) -> str:
    return cache.key_of(
        [
            *(release.name, release.xen, *release.packages),
            *(*_excluded(release), str(_DISK_BYTES)),
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


def _build_base(place: Path, release: Release, progress: Progress) -> None:
    tree = place / "tree"
    with progress.step(f"build the root tree of a {release.name} dom0 (1 to 2 minutes)"):
        _bootstrap(tree, release, progress)
    with progress.step("make dom0's disk"):
        kernel = next((tree / "boot").glob("vmlinuz-*"))
        (place / "vmlinux").write_bytes(uncompressed_kernel(kernel.read_bytes()))
        (tree / "lab").mkdir()
        shutil.copy(place / "vmlinux", tree / "lab" / "vmlinux")
        (place / "xen").write_bytes(
            gzip.decompress((tree / "boot" / f"xen-{release.xen}-amd64.gz").read_bytes())
        )
        version = kernel.name.removeprefix("vmlinuz-")
        collect_modules(tree, version, _BASE_MODULES, place / "modules")
        collect_modules(tree, version, guest_image.MODULES, place / "guest-modules")
        collect_modules(tree, version, guest_image.EXT4_MODULES, place / "guest-ext4")
        _make_disk(tree, place / "disk.raw")
        shutil.rmtree(tree)


def _bootstrap(tree: Path, release: Release, progress: Progress) -> None:
    sources = sources_for(release.name, tree.with_name("sources"))
    command = [
        *("mmdebstrap", "--mode=root", "--variant=apt"),
        f"--include={','.join(release.packages)}",
        *("--aptopt=Acquire::Languages none", "--aptopt=APT::Install-Recommends false"),
        *(f"--aptopt={option}" for option in proxy_options()),
        *(f"--dpkgopt={option}" for option in _excluded(release)),
        f"--customize-hook={FILES / 'base-hook.sh'}",
        *(release.name, str(tree), *map(str, sources)),
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
