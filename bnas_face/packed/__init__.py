"""The packed engine: a network whose 1-bit weights and activations are bits, on disk and in the processor."""
