"""The console: an archive of the derived topics, and an HTTP interface to ask it."""
