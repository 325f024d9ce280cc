"""Running a model: training, playing, learning while playing, likelihoods, and the files that a run leaves."""
