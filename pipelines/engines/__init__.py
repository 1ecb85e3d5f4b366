"""Streams as unbounded Beam graphs, on engines that others operate: plain parts, wired by ``graph``."""
