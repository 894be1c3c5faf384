"""What ``python -m remus_ha.hypervisor.libvirt`` takes."""

GIVE_BACK, HAND_OVER = "give-back", "hand-over"
WATCHED = "--watched"
