"""The mesh on one machine: resources from files and a store, workloads from `gossamer run`, keys on disk.

An adapter: everything here ends in `model` values given to a `Deliver`, or in files and sockets. It decides no policy
and knows no wire message of the sidecars.
"""
