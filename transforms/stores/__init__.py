"""What is kept: the consent ledger, the vault, the subjects' data keys, the access log."""
