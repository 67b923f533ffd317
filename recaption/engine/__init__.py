"""Rows of many units through one captioner: decoding ahead, results gathered, what fails retried and given up on."""
