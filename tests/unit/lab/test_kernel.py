import lzma
import struct
import subprocess

import pytest

from remus_ha.lab.errors import StepFailed
from remus_ha.lab.kernel import uncompressed_kernel

ELF = b"\x7fELF" + bytes(1000)
SIZE = struct.pack("<I", len(ELF))


def bzimage(payload: bytes, sectors: int = 2) -> bytes:
    """A kernel image with the header fields that tell where its payload is."""
    image = bytearray((sectors + 1) * 512 + 64)
    image[0x1F1] = sectors
    struct.pack_into("<II", image, 0x248, 64, len(payload))
    return bytes(image) + payload + b"trailer"


def test_an_xz_payload_is_taken_out() -> None:
    """As in bookworm's kernel."""
    payload = lzma.compress(ELF, check=lzma.CHECK_CRC32) + SIZE
    assert uncompressed_kernel(bzimage(payload)) == ELF


def zstd(octets: bytes) -> bytes:
    done = subprocess.run(["zstd", "-q", "-c"], input=octets, capture_output=True, check=True)
    return done.stdout


def test_a_zstd_payload_is_taken_out() -> None:
    """As in trixie's; zstd itself takes nothing that has the size behind it."""
    assert uncompressed_kernel(bzimage(zstd(ELF) + SIZE)) == ELF


def test_half_a_zstd_payload_is_an_error() -> None:
    with pytest.raises(StepFailed, match="zstd"):
        uncompressed_kernel(bzimage(zstd(ELF)[:-8] + SIZE))


def test_another_payload_is_left_as_it_is() -> None:
    image = bzimage(b"\x04\x22\x4d\x18 rest")
    assert uncompressed_kernel(image) == image
