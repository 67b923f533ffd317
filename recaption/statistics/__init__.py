"""What can be said of a run's captions by counting and scoring: the statistics of the paper's section 4."""
