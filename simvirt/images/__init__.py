"""Images: what a build file describes, layers that never change, how they are built, pulled, run and pushed."""
