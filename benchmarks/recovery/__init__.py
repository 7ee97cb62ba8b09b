"""Does clustering find the truth? Planted groups of many kinds, and real decompositions, against other methods."""
