"""The rules of delivery, pure: what is told, when it is tried again, and how it reads."""
