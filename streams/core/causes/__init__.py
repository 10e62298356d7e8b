"""Likely causes of an incident: evidence from columns, and a ranking that may answer "unknown"."""
