"""The page of a run: what went in and came out, what captions are like, pictures beside what was said of them."""
