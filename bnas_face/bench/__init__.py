"""The cost table: parameters, bytes, operations and milliseconds of networks on this machine, measured in one run."""
