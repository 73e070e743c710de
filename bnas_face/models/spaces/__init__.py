"""Search spaces: what the operations of a genotype are made of; one file each, `_base` is the contract."""
