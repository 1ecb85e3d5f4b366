"""The tables of each embedded store, one script per version of its schema."""
