"""Memory of a kernel or hypervisor while time passes: who holds how much, and what happens when it runs short."""
