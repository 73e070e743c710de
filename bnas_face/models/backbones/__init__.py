"""Networks from image to embedding or logits: ``build(config, binarizer)``, ``SIZES_PX`` (empty: any), ``TASKS``."""
