"""The keys below a witness's prefix.

``incarnation``, ``guest/<uuid>/register``, ``guest/<uuid>/opened``: ``rows`` has their values.
``guest/<uuid>/reported/<host>`` has the incarnation to which that host has reported.
"""

import re

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Keys:
    """Names of the keys; a guest has the same ones however its UUID is capitalised."""

    def __init__(self, prefix: str) -> None:
        self.incarnation = f"{prefix}/incarnation"
        self.guests = f"{prefix}/guest/"

    def guest(self, uuid: str) -> str:
        """What all keys of a guest begin with. Raises ValueError for what is no UUID."""
        name = uuid.lower()
        if not _UUID.fullmatch(name):
            raise ValueError(f"{uuid!r} is not a UUID")
        return f"{self.guests}{name}/"

    def register(self, uuid: str) -> str:
        return f"{self.guest(uuid)}register"

    def opened(self, uuid: str) -> str:
        return f"{self.guest(uuid)}opened"

    def reports(self, uuid: str) -> str:
        """What the keys of a guest's reports begin with, a host's name behind it."""
        return f"{self.guest(uuid)}reported/"

    def uuid_of(self, key: str) -> str:
        """The guest whose register a key is; empty when it is none."""
        uuid, _, leaf = key.removeprefix(self.guests).partition("/")
        return uuid if leaf == "register" and _UUID.fullmatch(uuid) else ""
