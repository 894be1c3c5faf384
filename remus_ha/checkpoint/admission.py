"""Whether this host's replication link has room for one more stream, beside those that go out."""

from remus_ha.exceptions import RemusError
from remus_ha.limits import Limits, link_obstacles
from remus_ha.shares import Counter, Share


class AlreadyProtected(RemusError):
    code = "PROTECT-004"
    cause = "'{name}' is protected already, or a process of an earlier protection lives"
    remedy = "Look at 'remus-ha status', or end it with 'remus-ha unprotect {name}'."


def obstacles(share: Share) -> list[RemusError]:
    """Empty when there is room now."""
    with Counter() as counter:
        return _obstacles(share, counter)


def admit(share: Share) -> None:
    """Take it: from now on it counts. Raises what ``obstacles`` returns, and AlreadyProtected."""
    with Counter() as counter:
        for obstacle in _obstacles(share, counter):
            raise obstacle
        if not counter.add(share):
            raise AlreadyProtected(name=share.name)


def _obstacles(share: Share, counter: Counter) -> list[RemusError]:
    try:
        return link_obstacles(Limits.read(), share, counter.others(share))
    except RemusError as e:
        return [e]
