"""Encodes with 8-bit matrix products on a CPU."""

import torch
from torch import nn

from extrabert_hf.errors import InputError
from extrabert_hf.models import ExtraBertPreTrainedModel

LARGEST = 127
"""The largest 8-bit weight; the smallest one is its negative."""
TINY = 1e-30
"""The smallest range of values that is divided into steps."""


class Int8Linear(nn.Module):
    """
    A linear layer with weights and inputs of 8 bits, and sums of 32 bits, on a CPU with oneDNN.

    Each output feature has a scale for its weights. Each vector of the input has its own scale and offset, from its
    smallest and largest value (the affine quantization of Jacob et al. 2018, https://arxiv.org/abs/1712.05877,
    Equation 1). So large values in one vector do not reduce the precision of the others, and a result does not depend
    on the batch. The layer cannot be copied, pickled, or moved to another device or type.

    Args:
        linear ([`~torch.nn.Linear`]):
            The layer; it is not changed.
        input_bits (`int`, defaults to 8):
            Bits of an input, 8 or 7: see [`saturates`].
    """

    def __init__(self, linear: nn.Linear, input_bits: int = 8) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()  # (out, in)
        scale = weight.abs().amax(dim=1).clamp_min(TINY) / LARGEST  # (out,)
        self.register_buffer("int8_weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("zero_points", torch.zeros_like(scale, dtype=torch.long))
        self.register_buffer("totals", self.weight.sum(dim=1))  # (out,)
        self.register_buffer("bias", torch.zeros_like(scale) if linear.bias is None else linear.bias.detach().float())
        self.register_buffer("levels", torch.tensor(2**input_bits - 1))
        self.packed = torch.ops.onednn.qlinear_prepack(self.int8_weight, None)

    @property
    def weight(self) -> torch.Tensor:
        """The weights in float32, `(out, in)`, for encoders that use them outside of this layer."""
        return self.int8_weight * self.scale[:, None]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`(..., in)` -> `(..., out)`, in the type of the input."""
        vectors = input.reshape(-1, self.in_features).float()  # (N, in), nearly low + step * whole
        low = vectors.amin(dim=1, keepdim=True)  # (N, 1)
        high = vectors.amax(dim=1, keepdim=True)  # the two together are faster than `aminmax`
        step = (high - low).clamp_min_(TINY) / self.levels
        whole = (vectors - low).mul_(1 / step).add_(0.5).to(torch.uint8)  # rounds down
        products = torch.ops.onednn.qlinear_pointwise(
            *(whole, 1.0, 0, self.packed, self.scale, self.zero_points, None),
            *(1.0, 0, torch.float32, "none", [], ""),  # an output in floating point, nothing after the product
        )  # (N, out)
        output = products.mul_(step).add_(low * self.totals).add_(self.bias)
        return output.to(input.dtype).view(*input.shape[:-1], self.out_features)


def quantize_encoder(model: ExtraBertPreTrainedModel) -> None:
    """
    Replaces the linear layers of the encoder by [`Int8Linear`]; embeddings, poolings and heads stay as they are.

    Under bfloat16 autocast the other operations of the encoder, such as attention, run in bfloat16.

    Args:
        model ([`ExtraBertPreTrainedModel`]):
            A model on a CPU, for prediction only.

    Raises:
        [`InputError`]: for a model on another device, or if PyTorch has no oneDNN.
    """
    if model.device.type != "cpu":
        raise InputError(f"`int8` needs a model on the CPU, got one on {model.device}: predict without it there.")
    if not torch.backends.mkldnn.is_available():
        raise InputError("`int8` needs a PyTorch with oneDNN (mkldnn): this one has none for this processor.")
    input_bits = 7 if saturates() else 8
    for module in list(model.backbone.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, Int8Linear(child, input_bits))


def saturates() -> bool:
    """
    Whether a sum of 8-bit products exceeds the 16 bits in which processors without VNNI add two of them.

    Inputs of 7 bits avoid this, at the price of precision.
    """
    ones = nn.utils.skip_init(nn.Linear, 64, 1, bias=False)  # draws no random numbers
    nn.init.ones_(ones.weight)
    inputs = torch.ones(1, 64)
    inputs[0, 0] = 0.0  # the range is 0 to 1: all other inputs become the largest whole number
    return bool((Int8Linear(ones)(inputs) - 63).abs() > 1)
