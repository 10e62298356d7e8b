"""Hands incidents on: a process of its own that reads the incident topic and tells receivers."""
