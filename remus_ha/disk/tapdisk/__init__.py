"""tapdisk's remus protocols, both ends of each: the replication link and the FIFOs."""
