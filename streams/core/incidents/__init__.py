"""Incidents: which alerts are one problem, where it began, and who has to know."""
