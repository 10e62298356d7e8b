"""What Spanloom says of itself: logs and metrics."""
