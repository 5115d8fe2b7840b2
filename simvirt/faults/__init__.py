"""What goes wrong: the parts of a platform that break, how, how often, and what it takes to repair them; and who breaks out. Pure data."""
