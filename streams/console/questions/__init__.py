"""What can be asked of the archive, and how it is found."""
