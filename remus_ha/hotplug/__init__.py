"""Bringing a guest's network devices up shut, and opening them when that is allowed."""
