"""Search: images in, a genotype out; may be stopped at any moment and resumed exactly.

`searchers` decide what is tried (state machines without torch), `engine` trains and measures it in one shared network
(`supernet`), `loop` drives the one with the other and keeps the run folder.
"""
