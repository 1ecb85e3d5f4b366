"""Streams of records on one machine, in micro-batches that survive any crash."""
