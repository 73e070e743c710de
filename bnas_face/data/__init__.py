"""Identities and images in: rendered faces, imported sets, readers of the field's formats, alignment, checks."""
