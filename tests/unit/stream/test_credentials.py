"""Guards how long a certificate is good for, and where its key goes."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from remus_ha.stream import credentials
from remus_ha.stream.errors import NotAnOffer


def test_certificate_is_valid_whatever_the_clock() -> None:
    pem = ssl.DER_cert_to_PEM_cert(credentials.create().certificate)
    done = subprocess.run(
        ["openssl", "x509", "-noout", "-startdate", "-enddate", "-text"],
        input=pem, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "notBefore=Jan  1 00:00:00 1970 GMT" in done.stdout
    assert "notAfter=Dec 31 23:59:59 9999 GMT" in done.stdout
    assert "prime256v1" in done.stdout


def test_every_session_has_its_own() -> None:
    one, two = credentials.create(), credentials.create()
    assert credentials.fingerprint(one.certificate) != credentials.fingerprint(two.certificate)
    assert one.pem != two.pem


def test_key_is_not_shown() -> None:
    own = credentials.create()
    assert "PRIVATE KEY" in own.pem.decode()
    assert "PRIVATE" not in repr(own)


def test_key_file_is_closed_again() -> None:
    own, peer = credentials.create(), credentials.create()
    before = os.listdir("/proc/self/fd")
    credentials.server_context(own, peer.certificate)
    credentials.client_context(own, peer.certificate)
    assert os.listdir("/proc/self/fd") == before


def test_contexts_demand_tls_1_3_and_a_certificate() -> None:
    own, peer = credentials.create(), credentials.create()
    for make in (credentials.server_context, credentials.client_context):
        pinned = make(own, peer.certificate)
        assert pinned.context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert pinned.context.verify_mode is ssl.CERT_REQUIRED
        assert pinned.context.get_ca_certs(binary_form=True) in ([], [peer.certificate])


def test_unreadable_certificate_is_refused() -> None:
    with pytest.raises(NotAnOffer, match="cannot be read"):
        credentials.client_context(credentials.create(), b"\x30\x03rubbish")


def test_handing_over_leaves_no_file(tmp_path: Path) -> None:
    own, path = credentials.create(), tmp_path / "key"
    credentials.save_key(own, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert credentials.load_key(path) == own
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        credentials.load_key(path)


def test_importing_does_not_load_the_library() -> None:
    """The per-guest processes start quickly; only who makes a certificate pays for it."""
    code = "import sys, remus_ha.stream.credentials; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
