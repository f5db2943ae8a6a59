"""Generative models with a memory at work (paper `temporal_memory`)."""
