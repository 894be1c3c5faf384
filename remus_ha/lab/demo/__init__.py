"""The demo: a guest survives the power cut of its host, on two real Xen hosts.

``python -m remus_ha.lab.demo`` (``make demo``) runs ``story`` in a lab of its own, measures with
``figures`` what an outside client and the hosts' journals saw, and leaves ``report.json`` and
``report.png``.
"""
