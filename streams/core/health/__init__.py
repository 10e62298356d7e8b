"""How well the pipeline does: each module, what it owes to others, and what is coming."""
