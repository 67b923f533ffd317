"""Whether two captioners say the same of the same pictures: equal texts, or texts that part at a tie of two tokens."""
