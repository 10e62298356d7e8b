"""Who asks, whether they may, and the book of it."""
