"""Reference implementations of nine deep-learning papers, and the instruments that check them."""

__version__ = "0.1.0"
