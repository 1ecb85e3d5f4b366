"""Detectors: what sensitive values look like in free text and in columns that nobody declared."""
