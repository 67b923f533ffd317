"""What can be wrong with a caption, told from its words alone, and what is left of it once that is taken out."""
