"""The vocabulary of the mesh: frozen values, compared by value.

Must not import anything of ours, do I/O, or know a clock.
"""
