"""Isolation: what a neighbour that misbehaves does to others, and which limit would have prevented it."""
