"""Where traffic goes, and how: snapshot → outbound configuration, endpoints, profiles, names. Pure."""
