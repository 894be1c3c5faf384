"""etcd+https: both sides show certificates of the operator's authority."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remus_ha.witness import admin
from remus_ha.witness.base import Swap
from remus_ha.witness.errors import WitnessUnavailable, WitnessUrlInvalid
from remus_ha.witness.etcd import EtcdWitness
from tests.functional.witness.guest import UUID, sole
from tests.functional.witness.store import Etcd, running


def certify(home: Path, name: str, *options: str) -> None:
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-noenc", "-subj", f"/CN={name}", "-days", "2",
            "-keyout", str(home / f"{name}.key"), "-out", str(home / f"{name}.pem"), *options,
        ],
        check=True, timeout=30, capture_output=True,
    )  # fmt: skip


@pytest.fixture
def tls_etcd(tmp_path: Path) -> Iterator[Etcd]:
    certify(tmp_path, "ca")
    signed = ("-CA", str(tmp_path / "ca.pem"), "-CAkey", str(tmp_path / "ca.key"))
    for name in ("server", "client"):
        certify(
            tmp_path, name, *signed,
            "-addext", "subjectAltName=IP:127.0.0.1",
            "-addext", "extendedKeyUsage=serverAuth,clientAuth",
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip
    certify(tmp_path, "stranger")
    etcd = Etcd(
        tmp_path,
        extra=(
            "--cert-file", str(tmp_path / "server.pem"), "--key-file", str(tmp_path / "server.key"),
            "--client-cert-auth", "--trusted-ca-file", str(tmp_path / "ca.pem"),
        ),
    )  # fmt: skip
    etcd.scheme = "https"
    with running(etcd):
        yield etcd


def url(etcd: Etcd, ca: str, name: str) -> str:
    files = f"ca={etcd.home}/{ca}.pem&cert={etcd.home}/{name}.pem&key={etcd.home}/{name}.key"
    return f"etcd+https://127.0.0.1:{etcd.port}/test?{files}"


def test_the_register_over_mutual_tls(tls_etcd: Etcd) -> None:
    admin.initialise(url(tls_etcd, "ca", "client"))
    witness = EtcdWitness(url(tls_etcd, "ca", "client"))
    assert witness.swap(UUID, None, sole(1), 2) is Swap.WON
    since = witness.read(UUID, 2)
    assert since.register == sole(1)
    assert witness.wait_change(UUID, since, 0.3) == since
    witness.close()


@pytest.mark.parametrize(("ca", "name"), [("stranger", "client"), ("ca", "stranger")])
def test_strangers_get_no_answer(tls_etcd: Etcd, ca: str, name: str) -> None:
    admin.initialise(url(tls_etcd, "ca", "client"))
    with pytest.raises(WitnessUnavailable):
        EtcdWitness(url(tls_etcd, ca, name)).swap(UUID, None, sole(1), 2)
    assert admin.show(url(tls_etcd, "ca", "client"), UUID).register is None


def test_missing_files_are_told_at_once(tls_etcd: Etcd) -> None:
    with pytest.raises(WitnessUrlInvalid):
        EtcdWitness(url(tls_etcd, "ca", "nobody"))


def test_a_hung_handshake_is_bounded(tls_etcd: Etcd) -> None:
    tls_etcd.freeze()
    with pytest.raises(WitnessUnavailable):
        EtcdWitness(url(tls_etcd, "ca", "client")).connect(0.5)
    tls_etcd.thaw()
