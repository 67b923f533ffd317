"""How each kind and species is drawn: flat shapes with outlines, on a sheet of 100 x 100 units."""
