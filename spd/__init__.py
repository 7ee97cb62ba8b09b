"""Parameter decomposition: reading decomposed models, and finding the groups of their components."""
