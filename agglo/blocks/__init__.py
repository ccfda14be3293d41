"""Runs over the blocks of a volume that need nothing of it in one place."""
