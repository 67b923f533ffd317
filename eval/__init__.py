"""Suites over each stage's outputs, the results store, paper tables and the report."""
