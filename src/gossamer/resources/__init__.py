"""The documents people write ↔ model. Dictionaries and YAML stop here."""
