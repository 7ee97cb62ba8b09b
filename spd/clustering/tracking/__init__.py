"""What a run logs while it merges: scalars to a file always, everything to W&B when asked for."""
