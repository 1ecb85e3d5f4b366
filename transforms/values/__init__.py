"""What values look like: canonical forms and checksums, over Arrow columns."""
