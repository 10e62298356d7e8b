"""The paths of the interface: what each answers, by what it is about."""
