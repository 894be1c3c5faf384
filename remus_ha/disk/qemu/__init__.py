"""The ``qemu`` driver: a stock QEMU mirrors the running disk to its store over NBD."""
