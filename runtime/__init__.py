"""How anything runs: config, seeds, launch, the training loop, checkpoints, schedules, EMA, metrics.

Has never heard of an image.
"""
