"""Readers and writers of other people's files: every byte is checked, damage is one `FormatError` with its position."""
