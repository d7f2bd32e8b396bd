"""The benchmarks behind scripts/bench: vpopsql's speed beside the C daemon's.

A run makes a vpopmail site of a given size, imports it into fresh databases, starts real daemons
and talks to them over loopback sockets. Everything lives in one temporary directory; every
process is ended by whoever started it. Nothing here is imported by vpopsql, and nothing is
mocked: what is measured is what an operator would start.

A new workload is one entry of ``workloads.WORKLOADS`` and, where the C daemon has been measured,
one of ``reference.C_IN_M``.
"""


class BenchFailed(Exception):
    """A run cannot go on; the text says why."""
