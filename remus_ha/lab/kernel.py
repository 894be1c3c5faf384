"""The kernel out of Debian's compressed image.

Loading an ELF spares the emulated hypervisor the decompression, which costs seconds. The payload's
place is in the boot protocol's header (Documentation/arch/x86/boot.rst).
"""

import lzma
import struct
import subprocess

from remus_ha.lab.errors import StepFailed

_XZ = b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"
# The build appends the kernel's size to what its compressor made (scripts/Makefile.lib).
_SIZE = 4


def uncompressed_kernel(image: bytes) -> bytes:
    """The ELF file inside a bzImage whose payload is xz or zstd, else the image as it is.

    Raises StepFailed.
    """
    sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = image[start : start + length]
    if payload.startswith(_XZ):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(_ZSTD):
        return _from_zstd(payload[:-_SIZE])
    return image


def _from_zstd(octets: bytes) -> bytes:
    done = subprocess.run(["zstd", "-q", "-d", "-c"], input=octets, capture_output=True)
    if done.returncode != 0:
        output = done.stderr.decode(errors="replace").strip()
        raise StepFailed(command="zstd -d", status=done.returncode, output=output)
    return done.stdout
