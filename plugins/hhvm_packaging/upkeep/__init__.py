"""Upkeep: what runs on a schedule to watch, to clean up and to age out."""
