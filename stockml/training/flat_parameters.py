"""A model's parameters as one flat tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from stockml.distributed.group import Group


class FlatParameters:
    """All of a model's parameters as one flat tensor, and their gradients as another: the model's own become views.

    One optimizer kernel, one clipping, one copy and (over several processes) one reduction then serve all of them.
    """

    def __init__(self, model: nn.Module) -> None:
        parameters = _in_cudnn_order(model)
        self.flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters] or [torch.empty(0)]))
        self.flat.grad = torch.zeros_like(self.flat)
        start = 0
        for p in parameters:
            end = start + p.numel()
            p.data = self.flat.data[start:end].view_as(p)
            p.grad = self.flat.grad[start:end].view_as(p)
            start = end
        # Batch statistics and the like belong to the weights although no optimizer changes them.
        self.buffers = [b for b in model.buffers() if b.is_floating_point()]

    def copy(self) -> Tensor:
        """A flat copy of parameters and buffers."""
        return torch.cat([self.flat.detach(), *(b.detach().flatten() for b in self.buffers)])

    def restore(self, saved: Tensor) -> None:
        """Set parameters and buffers to what `copy` returned."""
        pieces = saved.to(self.flat.device).split([t.numel() for t in (self.flat, *self.buffers)])
        for tensor, piece in zip((self.flat.data, *self.buffers), pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def average_buffers(self, group: Group) -> None:
        """Set each buffer to its mean over the ranks: each rank's batch statistics are of its own samples."""
        for buffer in self.buffers:
            group.all_reduce(buffer.div_(group.world_size))


def _in_cudnn_order(model: nn.Module) -> list[nn.Parameter]:
    """The parameters, recurrent layers first, their matrices before their biases.

    cuDNN reads a recurrent layer in place if memory begins with it in this order; otherwise it copies it at every call.
    """
    recurrent = [p for module in model.modules() if isinstance(module, nn.RNNBase) for p in module.parameters()]
    dimensions = {id(p): p.dim() for p in recurrent}
    return sorted(model.parameters(), key=lambda p: -dimensions.get(id(p), 0))
