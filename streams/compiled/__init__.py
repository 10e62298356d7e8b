"""Loops that are compiled, for processes that read much."""
