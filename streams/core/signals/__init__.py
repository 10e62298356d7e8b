"""Signals: what metric points and log lines say per window and series, and the rules over them."""
