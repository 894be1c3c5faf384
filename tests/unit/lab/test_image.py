import lzma
import struct

from remus_ha.lab.image import uncompressed_kernel


def bzimage(payload: bytes, sectors: int = 2) -> bytes:
    """A kernel image with the header fields that tell where its payload is."""
    image = bytearray((sectors + 1) * 512 + 64)
    image[0x1F1] = sectors
    struct.pack_into("<II", image, 0x248, 64, len(payload))
    return bytes(image) + payload + b"trailer"


def test_an_xz_payload_is_taken_out() -> None:
    elf = b"\x7fELF" + bytes(1000)
    payload = lzma.compress(elf, check=lzma.CHECK_CRC32) + struct.pack("<I", len(elf))
    assert uncompressed_kernel(bzimage(payload)) == elf


def test_another_payload_is_left_as_it_is() -> None:
    image = bzimage(b"\x28\xb5\x2f\xfd rest")
    assert uncompressed_kernel(image) == image
