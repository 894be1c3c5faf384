"""Certificates for one protection's disks: an authority that nobody keeps, one pair of ends.

QEMU and nbdkit want an authority and a host name where the control channel compares fingerprints.
The authority's key is gone once both certificates are signed, so there will never be a third; the
name is the same for every store, since it says nothing that the authority does not.
"""

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

SERVER_NAME = "store.remus-ha.invalid"


@dataclass(frozen=True, slots=True)
class End:
    """One end's files, as PEM: the authority, its own certificate and its key."""

    authority: str
    certificate: str
    key: str = field(repr=False)

    def save(self, directory: Path, side: str) -> Path:
        """Write them as ``side`` (``client`` or ``server``) where QEMU or nbdkit look for them."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = {
            "ca-cert.pem": self.authority,
            f"{side}-cert.pem": self.certificate,
            f"{side}-key.pem": self.key,
        }
        for name, text in files.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with open(os.open(directory / name, flags, 0o600), "w") as f:
                f.write(text)
        return directory


@dataclass(frozen=True, slots=True)
class Ends:
    """What the primary makes; ``server`` goes to the backup over the starting channel."""

    client: End
    server: End


def create() -> Ends:
    """A new authority's two ends, EC P-256, valid from 1970 to 9999."""
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415  (slow to load)

    key = ec.generate_private_key(ec.SECP256R1())
    authority = _sign(key.public_key(), "remus-ha protection", key, authority=True)
    text = _pem(authority)
    return Ends(_end(text, key, "client"), _end(text, key, SERVER_NAME))


def _end(authority: str, signer: Any, name: str) -> End:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    certificate = _sign(key.public_key(), name, signer, authority=False)
    return End(authority, _pem(certificate), private.decode())


def _sign(public: Any, name: str, signer: Any, *, authority: bool) -> Any:
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "remus-ha protection")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False
        )
    return builder.sign(signer, hashes.SHA256())


def _pem(certificate: Any) -> str:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    text: str = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return text
