"""Last-level caches, memory and hyper-threads, which runners slow each other down by; nothing here knows of schedulers."""
