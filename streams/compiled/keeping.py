"""Whether compiled loops are kept on the disk, and taken from there."""

is_on = True
"""Until what is kept there turns out to be of no use."""
