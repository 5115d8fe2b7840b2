"""simvirt: a discrete-event performance simulator of hypervisors and containers that models overheads by mechanism."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
