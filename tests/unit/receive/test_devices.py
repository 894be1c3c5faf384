"""The copy's configuration names this host's devices of disks that daemons serve."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from remus_ha.disk.spec import DiskSpec, valid
from remus_ha.disk.tapdisk.errors import DaemonUnfit
from remus_ha.receive import start
from remus_ha.receive.request import parse_request, to_line
from tests.unit.receive.test_request import REQUEST

URI = "tap:remus:10.0.0.2:9000|aio:/srv/web1.img"
SERVED = replace(REQUEST.disks[0], uri=URI, base=3)


def test_only_the_disks_of_daemons_get_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    disks = [
        {"vdev": "xvda", "pdev_path": "/dev/nbd0"},
        {"vdev": "xvdb", "pdev_path": "/dev/nbd0"},
    ]
    request = replace(REQUEST, disks=(SERVED,), config={**REQUEST.config, "disks": disks})
    monkeypatch.setattr(start, "device_of", {SERVED: "/dev/nbd7"}.get)
    placed = start._with_devices(request)
    assert [disk["pdev_path"] for disk in placed["disks"]] == ["/dev/nbd7", "/dev/nbd0"]
    assert {**placed, "disks": disks} == request.config
    assert request.config["disks"][0]["pdev_path"] == "/dev/nbd0"


def test_a_disk_of_a_daemon_survives_the_line() -> None:
    request = replace(REQUEST, disks=(SERVED,))
    assert parse_request(to_line(request)) == request


@pytest.mark.parametrize(
    "spec",
    [
        replace(SERVED, uri="aio:/srv/web1.img"),
        replace(SERVED, uri=URI.replace("web1", "web2")),
        replace(SERVED, base=-1),
    ],
)
def test_a_disk_of_a_daemon_that_cannot_be(spec: object) -> None:
    assert valid(SERVED)
    assert not valid(spec)  # type: ignore[arg-type]


def test_a_daemon_is_asked_even_where_a_receiver_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question takes nothing from the receiver."""

    def unfit(spec: DiskSpec, uuid: str) -> None:
        raise DaemonUnfit(disk=spec.uri, host="b", detail="there is none")

    monkeypatch.setattr(start.rundir, "is_running", lambda role, uuid: True)
    xen = SimpleNamespace(backup_obstacles=lambda *args: [])
    monkeypatch.setattr(start, "XenDriver", lambda: xen)
    monkeypatch.setattr(start, "check_target", unfit)
    found = start.check(replace(REQUEST, disks=(SERVED,)))
    assert [type(e) for e in found[:2]] == [start.AlreadyReceiving, DaemonUnfit]
