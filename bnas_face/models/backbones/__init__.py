"""Networks from image to embedding: one file each, ``build(config, binarizer)`` and ``SIZES_PX``."""
