"""A disk's daemon that speaks as tapdisk's remus driver did: one process per disk and host."""
