"""The ways back to a raw value, each by purpose, logged and explained."""
