"""The pure rules: columns in, columns out; no clock, no I/O, no Kafka."""
