"""The components of this package. Imports nothing heavy."""

from __future__ import annotations

from wf import Component, hookimpl
from wf.traits import ModelTraits


@hookimpl
def wf_components() -> list[Component]:
    """The models of this package."""
    return [
        Component(
            "model",
            "linear-regression",
            "wf_models.linear:LinearRegression",
            summary="a line, weights * x + bias, with two scalar parameters",
            aliases=("line",),
            traits=ModelTraits(predictions="real", inputs="vector", per="sample"),
        ),
        Component(
            "model",
            "linear",
            "wf_models.linear:linear",
            summary="one linear layer over the flattened input",
            traits=ModelTraits(inputs="numbers", per="sample"),
        ),
        Component(
            "model",
            "mlp",
            "wf_models.mlp:mlp",
            summary="multilayer perceptron over the flattened input",
            traits=ModelTraits(inputs="numbers", per="sample"),
            default=True,
        ),
        Component(
            "model",
            "tabular",
            "wf_models.tabular:Tabular",
            summary="multilayer perceptron over the numbers of a table and the embeddings of its categories",
            traits=ModelTraits(inputs="numbers", per="sample"),
        ),
        Component(
            "model",
            "lenet",
            "wf_models.convolutional:LeNet",
            summary="LeNet-5: two convolutions and three linear layers, for small images",
            aliases=("lenet5", "lenet-5"),
            traits=ModelTraits(inputs="image", per="sample"),
        ),
        Component(
            "model",
            "cnn",
            "wf_models.convolutional:cnn",
            summary="small convolutional network with batch norm and global average pooling",
            traits=ModelTraits(inputs="image", per="sample"),
        ),
        Component(
            "model",
            "unet",
            "wf_models.unet:UNet",
            summary="small U-Net: one prediction per pixel",
            aliases=("u-net",),
            traits=ModelTraits(inputs="image", per="pixel"),
        ),
        Component(
            "model",
            "rnn",
            "wf_models.recurrent:rnn",
            summary="Elman recurrent network, read at its last hidden state",
            traits=ModelTraits(per="sample"),
        ),
        Component(
            "model",
            "lstm",
            "wf_models.recurrent:lstm",
            summary="LSTM, read at its last hidden state",
            traits=ModelTraits(per="sample"),
            default="tokens",
        ),
        Component(
            "model",
            "tcn",
            "wf_models.tcn:TCN",
            summary="temporal convolutional network, read at its last step (Bai et al. 2018)",
            traits=ModelTraits(inputs="numbers", per="sample"),
        ),
    ]
