"""``python -m bnas_face`` is the same as ``bnasface``."""

from bnas_face.cli import main

if __name__ == "__main__":
    main()
