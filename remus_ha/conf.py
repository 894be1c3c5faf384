"""The host's own settings, ``/etc/remus-ha/remus-ha.conf``. Options of a command win over them."""

import os
from pathlib import Path

from remus_ha.exceptions import RemusError

PATH = Path(os.environ.get("REMUS_HA_CONFIG", "/etc/remus-ha/remus-ha.conf"))


class ConfigBroken(RemusError):
    code = "REMUS-002"
    cause = "{path} cannot be read: {detail}"
    remedy = "Mend the file; a sample is in etc/remus-ha/remus-ha.conf.sample."


def text(section: str, option: str) -> str | None:
    """None where the file does not say, or there is none. Raises ConfigBroken."""
    if not PATH.exists():
        return None
    import configparser  # noqa: PLC0415  (an option is quicker)

    config = configparser.ConfigParser()
    try:
        config.read(PATH)
        return config.get(section, option, fallback=None)
    except configparser.Error as e:
        raise ConfigBroken(path=PATH, detail=" ".join(str(e).split())) from e


def number(section: str, option: str) -> int | None:
    """The same of a whole number from 0 on."""
    told = text(section, option)
    if told is None:
        return None
    if not (told.isascii() and told.isdigit()):
        raise ConfigBroken(path=PATH, detail=f"{option} of [{section}] is no whole number: {told}")
    return int(told)
