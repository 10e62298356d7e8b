"""The shell: it moves bytes between Kafka and the pure engine and has no rule of its own."""
