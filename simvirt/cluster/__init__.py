"""Orchestrators: what watches containers and the machines under them, restarts them, and sends requests elsewhere."""
