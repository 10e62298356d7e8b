"""Alerts: what of the merged windows is wrong enough to say so, since when, and until when."""
