"""Workers on this or on other machines: an executor of Dask distributed.

Who can reach a scheduler that does not ask for certificates can run any program on its workers. So everything is on the loopback
interface unless an address says otherwise; beyond one machine, use tls:// with certificates.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from simvirt.errors import ResultsError

__all__ = ["Certificates", "cluster"]

_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM form with which both sides of a tls:// connection prove who they are."""

    authority: Path
    certificate: Path
    key: Path


@contextmanager
def cluster(address: str, certificates: Certificates | None = None) -> Iterator[Executor]:
    """The workers of the scheduler at an address. Raises ResultsError if Dask is not installed or the scheduler does not answer."""
    try:
        from distributed import Client, Security  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise ResultsError("--scheduler: Dask distributed is not installed; pip install 'simvirt[cluster]'") from None
    if address.startswith("tls://") and certificates is None:
        raise ResultsError(f"{address}: tls needs certificates; give --tls-ca, --tls-cert and --tls-key")
    security = Security(require_encryption=True, **_files(certificates)) if certificates is not None else None
    try:
        client = Client(address, security=security, timeout=_TIMEOUT_S, set_as_default=False)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        way_out = "start one with: dask scheduler --host 127.0.0.1"
        raise ResultsError(f"{address}: no scheduler answers ({str(error).splitlines()[0]}); {way_out}") from error
    with client:
        yield client.get_executor(pure=False)


def _files(certificates: Certificates) -> dict[str, str]:
    files = {"tls_client_cert": certificates.certificate, "tls_client_key": certificates.key, "tls_ca_file": certificates.authority}
    missing = [f"{path}: no such file; give the certificate in PEM form" for path in files.values() if not path.is_file()]
    if missing:
        raise ResultsError(missing)
    return {name: str(path) for name, path in files.items()}
