"""Disks of a protected guest: the backup's epoch stores and the primary's ways into them."""
