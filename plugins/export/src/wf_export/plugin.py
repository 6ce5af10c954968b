"""Declares the command, the kind and the formats of this package; imports nothing heavy."""

from __future__ import annotations

from wf import Command, Component, Kind, hookimpl
from wf_export.traits import ExporterTraits


@hookimpl
def wf_commands() -> list[Command]:
    """The commands of this package."""
    return [
        Command(
            name="export",
            section="Use a run",
            summary="Write a trained model for use without wf: weights, a graph, ONNX, or its training as a script.",
            target="wf_export.cli:export",
            alone=True,
            order=40,
        ),
    ]


@hookimpl
def wf_kinds() -> list[Kind]:
    """The kind of the formats."""
    return [
        Kind(
            name="exporter",
            summary="a format of wf export",
            of_runs=False,
            traits=ExporterTraits,
            objects="an object with write(source, file), outputs(source, file) and use(source, file)",
        )
    ]


@hookimpl
def wf_components() -> list[Component]:
    """The formats of this package."""
    return [
        Component(
            "exporter",
            "state-dict",
            "wf_export.formats.weights:StateDict",
            "the weights of the bare model, as torch.save writes them",
            traits=ExporterTraits(endings=(".pt", ".pth")),
        ),
        Component(
            "exporter",
            "safetensors",
            "wf_export.formats.weights:SafeTensors",
            "the weights of the bare model as safetensors, with metadata",
            traits=ExporterTraits(endings=(".safetensors",)),
        ),
        Component(
            "exporter",
            "pt2",
            "wf_export.formats.pt2:Pt2",
            "model and preprocessing as a graph of torch.export",
            traits=ExporterTraits(endings=(".pt2",)),
        ),
        Component(
            "exporter",
            "onnx",
            "wf_export.formats.onnx:Onnx",
            "model and preprocessing as a graph of ONNX",
            traits=ExporterTraits(endings=(".onnx",)),
        ),
        Component(
            "exporter",
            "script",
            "wf_export.script.writing:Script",
            "the training as a program in plain PyTorch",
            traits=ExporterTraits(endings=(".py",), of="training"),
        ),
    ]
