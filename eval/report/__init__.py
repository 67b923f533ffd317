"""The report: one self-contained page of everything an experiment showed."""
