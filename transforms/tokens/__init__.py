"""Tokens: one module per format, Arrow column in, Arrow column out."""
