"""What a run tells while it merges: scalars to a file always, everything to W&B when asked for."""
