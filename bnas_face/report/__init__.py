"""Results on disk in, one self-contained page and the tables of a paper out. Reads files only, never torch."""
