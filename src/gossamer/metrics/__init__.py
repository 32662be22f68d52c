"""Traffic as the sidecars report it, made into edges: who talks to whom, how fast, how well, whose fault a failure was.

Entry: `edges.Edges`. Everything here is arithmetic over values; the clock is an argument.
"""

from gossamer.metrics.edges import Edges

__all__ = ["Edges"]
