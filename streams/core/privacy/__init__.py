"""Personal values: which fields hold them, and what is kept in their place. Pure."""
