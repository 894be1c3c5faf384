"""Certificates that live as long as a session, and TLS contexts that trust exactly one peer.

Each side makes a key and a self-signed certificate; the two certificates travel as text over the
channel that starts the receiver (``remus_ha.receive.request``). From then on a connection is good
only if the other end holds the key of exactly that certificate: it is the only trust anchor, it
is compared by fingerprint after the handshake, and TLS 1.3 is the only version. Names and dates
mean nothing here: hosts' clocks differ, so the certificates are valid from 1970 to 9999.
"""

import base64
import hashlib
import os
import socket
import ssl
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from remus_ha.stream.errors import NotAnOffer, WrongPeer

MAX_CERTIFICATE = 4096


@dataclass(frozen=True, slots=True)
class Credentials:
    """One side's certificate and private key. The key is in no file and in no ``repr``."""

    certificate: bytes  # DER
    pem: bytes = field(repr=False)  # private key, then certificate


@dataclass(frozen=True, slots=True)
class PinnedContext:
    """A TLS context for one peer, together with that peer's certificate."""

    context: ssl.SSLContext
    peer_certificate: bytes
    server_side: bool

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """The socket inside TLS, the handshake not yet begun."""
        return self.context.wrap_socket(
            sock, server_side=self.server_side, do_handshake_on_connect=False
        )

    def check(self, sock: ssl.SSLSocket) -> None:
        """Compare fingerprints after the handshake. Raises WrongPeer."""
        shown = sock.getpeercert(binary_form=True)
        if shown is None or fingerprint(shown) != fingerprint(self.peer_certificate):
            raise WrongPeer(detail="its certificate has another fingerprint")


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, hexadecimal."""
    return hashlib.sha256(certificate).hexdigest()


def create() -> Credentials:
    """A new EC P-256 key with its self-signed certificate, valid from 1970 to 9999."""
    # Imported here: it takes tens of milliseconds, and only these lines need it.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "remus-ha session")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(1970, 1, 1))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding
    key_pem = key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(
        certificate=certificate.public_bytes(encoding.DER),
        pem=key_pem + certificate.public_bytes(encoding.PEM),
    )


def server_context(own: Credentials, peer_certificate: bytes) -> PinnedContext:
    """For the side that listens. Refuses every client but the holder of ``peer_certificate``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.num_tickets = 0
    return _pin(context, own, peer_certificate, server_side=True)


def client_context(own: Credentials, peer_certificate: bytes) -> PinnedContext:
    """For the side that connects. Refuses every server but the holder of ``peer_certificate``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _pin(context, own, peer_certificate, server_side=False)


def _pin(
    context: ssl.SSLContext, own: Credentials, peer_certificate: bytes, *, server_side: bool
) -> PinnedContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    _trust(context, peer_certificate)
    _load_key(context, own)
    return PinnedContext(context, peer_certificate, server_side)


def _load_key(context: ssl.SSLContext, own: Credentials) -> None:
    """``load_cert_chain`` takes a path only; a memory file has one and never is on a disk."""
    fd = os.memfd_create("remus-ha-key")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(own.pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def encode_certificate(certificate: bytes) -> str:
    """A certificate as one word of text, for a line of the starting channel."""
    return base64.b64encode(certificate).decode()


def decode_certificate(text: str) -> bytes:
    """The inverse, DER, bounded and readable by OpenSSL. Raises NotAnOffer."""
    try:
        der = base64.b64decode(text, validate=True)
    except ValueError as e:
        raise NotAnOffer(detail="its certificate is no base64") from e
    if not 0 < len(der) <= MAX_CERTIFICATE:
        raise NotAnOffer(detail=f"a certificate of {len(der)} octets")
    _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), der)
    return der


def _trust(context: ssl.SSLContext, certificate: bytes) -> None:
    try:
        context.load_verify_locations(cadata=certificate)
    except ssl.SSLError as e:
        raise NotAnOffer(detail="its certificate cannot be read") from e


def save_key(own: Credentials, path: Path) -> None:
    """Hand the credentials to another process of ours through a file of /run (never a disk)."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as f:
        f.write(encode_certificate(own.certificate).encode() + b"\n" + own.pem)


def load_key(path: Path) -> Credentials:
    """The inverse; the file is gone afterwards. Raises FileNotFoundError."""
    first, _, pem = path.read_bytes().partition(b"\n")
    path.unlink()
    return Credentials(decode_certificate(first.decode()), pem)
