"""Trace assembly: stream time, the traces still open, the traces already closed."""
