"""Plugins of other trainers, a file each."""
