"""The archive: what it keeps, how records become rows and files, and how files are found again."""
