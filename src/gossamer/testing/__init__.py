"""For tests of your own and of ours: in-memory ports, and builders of resources with sensible defaults."""
