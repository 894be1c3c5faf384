"""Whether the memory stream is encrypted, as the operator wants it."""

import enum


class Tls(enum.Enum):
    """``OPPORTUNISTIC``: if both hosts can."""

    REQUIRED = "required"
    OPPORTUNISTIC = "opportunistic"
    DISABLED = "disabled"
