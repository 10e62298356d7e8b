"""Kinds of values in a row, as compiled loops know them."""

TEXT, BYTES, LONG, FIXED, BOOLEAN, LIST = range(6)
"""A double and a float are of a fixed size, too."""
