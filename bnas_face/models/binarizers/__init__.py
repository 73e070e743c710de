"""What makes a convolution 1-bit: one file each; `_base` is the contract, ``none`` the full-precision twin."""
