"""What the paper on causal transfer claims, and what its reviewers doubt, at work."""
