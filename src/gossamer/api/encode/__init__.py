"""Configurations → `io.linkerd.proxy.*` and `gossamer.v1` messages. Whole values in, messages out; nothing is decided.

Equal values make equal bytes: what goes into a map or a list is sorted before it gets here or by the serializer.
"""
