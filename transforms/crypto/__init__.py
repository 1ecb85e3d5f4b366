"""Cryptography: FF1 and CMAC over columns, the keyring and what wraps it, sealed envelopes."""
