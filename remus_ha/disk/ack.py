"""What a store has done with an epoch when it says that it has it."""

import enum


class Ack(enum.Enum):
    """What an acknowledged epoch outlives."""

    RECEIVED = "received"  # a death of the store's process
    DURABLE = "durable"  # a power cut of the backup
