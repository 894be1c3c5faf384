"""From a witness URL to a driver.

The per-guest processes call ``open_witness``; what it needs beyond the built-in drivers comes as
an import path, which the command line front end looks up (``remus_ha.loading.entry_point``).
"""

from collections.abc import Callable
from typing import cast

from remus_ha.loading import DriverMissing, load
from remus_ha.witness.base import WitnessDriver
from remus_ha.witness.errors import (
    WitnessMissing,
    WitnessRequiresForce,
    WitnessUrlInvalid,
)
from remus_ha.witness.memory import Memory

Opener = Callable[[str, Memory | None], WitnessDriver]

NAMESPACE = "remus_ha.witness"
NONE_URL = "none:"
_BUILT_IN = {
    "etcd": "remus_ha.witness.etcd:EtcdWitness",
    "none": "remus_ha.witness.none:NoWitness",
}


def open_witness(
    url: str | None, *, force: bool, entry: str | None = None, memory: Memory | None = None
) -> WitnessDriver:
    """The driver for a URL, not yet connected.

    ``entry`` is ``module:Class`` as ``entry_point`` found it; without it the URL's scheme names a
    built-in driver. No URL and ``force`` give the pretended witness. ``memory`` is what an
    earlier process of this host kept. Raises WitnessMissing, WitnessRequiresForce,
    WitnessUrlInvalid, DriverMissing.
    """
    if url is None and not force:
        raise WitnessMissing()
    url = NONE_URL if url is None else url
    driver = driver_name(url)
    if driver == "none" and not force:
        raise WitnessRequiresForce()
    return _load(entry or _BUILT_IN.get(driver, f"{NAMESPACE}:{driver}"), driver)(url, memory)


def driver_name(url: str) -> str:
    """The driver that a URL names: its scheme up to a ``+``. Raises WitnessUrlInvalid."""
    scheme, colon, _ = url.partition(":")
    name = scheme.partition("+")[0]
    if not colon or not name.isidentifier():
        raise WitnessUrlInvalid(url=url, why="it has no scheme")
    return name


def _load(entry: str, driver: str) -> Opener:
    found = load(entry)
    if not (isinstance(found, type) and issubclass(found, WitnessDriver)):
        raise DriverMissing(entry=f"{NAMESPACE}:{driver}", detail=f"{entry} is no witness driver")
    return cast(Opener, found)
