"""The front door: the command line and the experiment runner. Starts stages as processes; nothing imports it."""
