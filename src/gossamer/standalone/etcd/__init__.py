"""The `Store` and `Leadership` ports on etcd: several replicas of a control plane on one state.

`mirror` is what this replica knows, `writer` changes it, `session` proves that this replica lives and who of all
writes, `store` puts them together.
"""
