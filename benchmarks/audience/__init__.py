"""Clients by the million: imports, segments, lists and exports, each beside its limit. See benchmarks/README.md."""
