"""Ways to search a space, one file each; the file name is the name on the command line. `_base` is the contract."""
