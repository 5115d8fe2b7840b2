"""Many runs for one question: points, replications, the pool that does them, and the folder that keeps what they found."""
