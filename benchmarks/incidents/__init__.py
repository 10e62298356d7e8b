"""Incidents and their causes, judged on recordings and storms whose truth is known."""
