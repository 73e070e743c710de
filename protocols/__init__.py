"""Protocol cards: one .toml each; data, no code."""
