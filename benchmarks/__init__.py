"""Side-by-side measurements: each sets our way beside a named other one, in one run, several times over."""
