"""Completeness: which spans are missing, on which edge, and how many over time."""
