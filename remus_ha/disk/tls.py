"""What both ends of a protection's disk connections know, and nobody else: a pre-shared key.

It goes to the backup over the channel that starts the receiver, which is trusted with the whole
guest anyway, and proves each end to the other inside TLS. (QEMU and nbdkit compare certificates
with host names, of which the ends of a protection have none worth comparing.)
"""

import os
import secrets
from pathlib import Path

USER = "remus-ha"
FILE = "keys.psk"  # QEMU looks for this name


def create() -> str:
    """A new key, hexadecimal."""
    return secrets.token_hex(32)


def save(key: str, directory: Path) -> Path:
    """Write it where nbdkit, libnbd and QEMU read it; the directory."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(os.open(directory / FILE, flags, 0o600), "w") as f:
        f.write(f"{USER}:{key}\n")
    return directory
