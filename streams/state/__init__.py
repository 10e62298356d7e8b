"""State as segments: what a cut adds, in the changelog and in the local copy."""
