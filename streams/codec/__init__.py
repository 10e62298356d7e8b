"""Bytes to columns and back: Avro, the wire header, and the formats of recordings."""
