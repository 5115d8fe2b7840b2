"""What the command line can do, one module per command; each gives the lines that it has to say and prints nothing itself."""
