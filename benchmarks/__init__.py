"""The project's figures: ``python -m benchmarks`` (``make bench``).

Xen's own ``xl remus`` is the peer wherever there is one: on the same guest, in the same lab, in
turns. Everything runs under emulation there, so ratios say something and absolute figures do not.
"""
