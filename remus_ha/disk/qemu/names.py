"""What our things in a QEMU are called: whoever comes after a dead process finds them by it."""

PREFIX = "remus-"


def job(vdev: str) -> str:
    return f"{PREFIX}{vdev}"


def target(vdev: str) -> str:
    """The node that is the store's NBD connection."""
    return f"{PREFIX}nbd-{vdev}"


def filter_node(vdev: str) -> str:
    return f"{PREFIX}filter-{vdev}"
