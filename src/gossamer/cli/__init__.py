"""The command `gossamer`: one file per command; each parses, calls one function and hands a value to `output`.

Nothing is imported here: starting must cost little, so every command brings only what it needs.
"""


def main() -> None:
    """Entry of the installed script and of `python -m gossamer`. Exits with a code from `cli.errors`."""
    from gossamer.cli.root import run

    run()
