"""The engine behind `spd.clustering.merge`: state in flat arrays, merges made by the kernels in math/kernels."""
