"""`harexport.export`: exports a network, or a torch.nn.Module, which is imported first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from harexport.errors import InputError
from harexport.exporters.export import ExportResult
from harexport.exporters.export import export as export_network
from harexport.model.contract import Contract
from harexport.model.network import Network

if TYPE_CHECKING:
    from torch import nn


def export(
    model: Network | nn.Module, path: Path | str | None = None, *, contract: Contract | None = None, **options: Any
) -> ExportResult:
    """Export a network or a torch.nn.Module to a file that passed its checks.

    Args:
        model: Network, or module in evaluation mode that reads one window of the contract as [1, time, channels],
            [1, channels, time] or [time, 1, channels].
        path: Path of the file.
        contract: Input and output contract. Default: that of UCI HAR.
        **options: Further arguments of `harexport.exporters.export.export`: format, scheme, lowering, batch, io,
            metadata, dataset, max_drop, stream.

    Raises:
        InputError: The module cannot be imported, or the options do not fit.
        CheckFailedError: The file failed its checks.
    """
    network = model if isinstance(model, Network) else _import_module(model, contract or Contract())
    return export_network(network, path, contract=contract, **options)


def _import_module(module: nn.Module, contract: Contract) -> Network:
    """Import a module with the first order of axes that it accepts."""
    import torch

    from harexport.importers.torch import from_torch

    first_error: InputError | None = None
    window = torch.zeros(1, contract.window, len(contract.channels))
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2)):
        try:
            return from_torch(module, window.permute(order).contiguous(), len(contract.channels))
        except InputError as error:
            first_error = first_error or error
    assert first_error
    raise first_error
