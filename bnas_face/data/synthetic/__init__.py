"""The embedded default: rendered identities. No download, no licence, any number of people, difficulty set by us."""
