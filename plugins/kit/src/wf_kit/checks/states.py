"""States as a checkpoint keeps them: through wf's codec and back, and compared bit for bit."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch

from wf.errors import UsageError
from wf_kit.kit import Defect
from wf_state import codec


def saved(state: Any) -> bytes:
    """A state as a checkpoint holds it; equal bytes are equal states, bit for bit and type for type.

    Raises:
        Defect: When it holds something that cannot be saved.
    """
    try:
        document, tensors = codec.encode(state)
    except UsageError as error:
        raise Defect(f"its state cannot be saved: {' '.join(str(error).split())}") from error
    payload = safetensors.torch.save({**tensors})
    return json.dumps(document).encode() + b"\0" + payload


def restored(data: bytes) -> Any:
    """The state that `saved` was given, in memory of its own."""
    document, _, payload = data.partition(b"\0")
    return codec.decode(json.loads(document), safetensors.torch.load(payload))
