"""What the lab stories share."""
