"""What each group of components does, for people."""
