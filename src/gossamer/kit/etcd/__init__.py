"""A small blocking client of etcd v3, over the JSON gateway that every etcd serves beside gRPC. No mesh words here."""
