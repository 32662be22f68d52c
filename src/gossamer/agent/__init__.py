"""What `gossamer run` does before it becomes the Rust launcher, and how a control plane is started.

`run` must be quick: standard library only, and of that no asyncio, no ssl.
"""
