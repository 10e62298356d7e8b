"""Small models of the modules: how their state moves, and what they say about it every second.

A model is fluid: records are a flow, not things. What it says moves together, because it follows
from one state: a slow consumer fills a queue, a full queue asks for less, a breaker opens on
errors. Invariant: the same seed, rate and faults give the same seconds, and noise does not depend
on faults, so that two runs which differ in a fault differ only in what the fault changed.
"""
