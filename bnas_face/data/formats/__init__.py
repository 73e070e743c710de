"""Readers and writers of other people's files: every byte is checked, and damage is one `FormatError` with its position."""
