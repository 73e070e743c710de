"""How good, how small and how fast is a 1-bit face recogniser, really?"""

__version__ = "0.1.0"
