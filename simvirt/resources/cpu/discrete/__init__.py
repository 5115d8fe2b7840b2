"""CPU schedulers that decide who runs when: run queues, ticks, slices, weights, quotas and wake-ups, nested as deep as the tree is."""
