"""What every server of ours needs before its first path: patience, bounds, keys."""
