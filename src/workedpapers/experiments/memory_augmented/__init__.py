"""A memory-augmented network at work (paper `memory_augmented`)."""
