"""Shared by the tests of engines: a real broker and engines, one of each kind for a worker."""

from servers.fixtures import flink, flink_of_worker, kafka, prism

__all__ = ["flink", "flink_of_worker", "kafka", "prism"]
