"""What a workload's port accepts, from whom: snapshot → inbound configuration. Pure."""
