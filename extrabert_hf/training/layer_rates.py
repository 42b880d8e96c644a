"""A learning rate of its own for each layer of the encoder."""

from torch import nn


def depths_of_parameters(backbone: nn.Module) -> dict[int, int]:
    """
    Tells for each parameter how many layers lie between it and the top of the encoder.

    The top layer, and what stands above it, has 0; the embeddings have as many as there are layers. With a learning
    rate of `lr * decay ** depth` the lower layers, which hold what is common to all texts, change less: discriminative
    fine-tuning, Howard and Ruder (2018), https://arxiv.org/abs/1801.06146, Section 3.2.

    Args:
        backbone (`nn.Module`):
            An encoder of transformers: its layers are its longest `nn.ModuleList`.

    Returns:
        `dict[int, int]`: by the `id` of a parameter.
    """
    lists = [module for module in backbone.modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=len, default=nn.ModuleList())
    depths = {id(parameter): 0 for parameter in backbone.parameters()}
    for name, module in backbone.named_children():
        if "embedding" in name:
            depths |= {id(parameter): len(layers) for parameter in module.parameters()}
    for index, layer in enumerate(layers):
        depths |= {id(parameter): len(layers) - 1 - index for parameter in layer.parameters()}
    return depths
