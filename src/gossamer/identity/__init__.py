"""Who a workload is, as decisions: a request is parsed, authorized, made into a template, signed, and checked.

Reading order: `certify` (the whole in one function), `request`, `authority`, `inspect`, `material`, `bundle`.
Time and chance are arguments; files, sockets and stores are somebody else's. Making a key pair is the one exception:
it draws on the operating system's randomness, because nothing else may.
"""
