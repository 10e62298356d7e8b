"""The pipeline contract: what a pipeline promises, read from YAML, checked, compiled, learned."""
