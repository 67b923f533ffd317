"""A small procedurally drawn web with known truth: everything runs on it without a download."""
