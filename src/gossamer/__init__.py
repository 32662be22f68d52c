"""Gossamer: a service mesh that weighs nothing. Where everything is: ARCHITECTURE.md.

Imports nothing: the command line and the sidecar's launcher start here, and each brings only what it needs.
"""

__version__ = "0.1.0"
