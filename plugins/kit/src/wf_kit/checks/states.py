"""States as in a checkpoint: encoded by wf's codec and back, and compared bit for bit."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch

from wf.errors import UsageError
from wf_kit.kit import Defect
from wf_state import codec


def saved(state: Any) -> bytes:
    """Encode a state as in a checkpoint; equal bytes mean equal states, bit for bit and with equal types.

    Raises:
        Defect: If it holds something that cannot be saved.
    """
    try:
        document, tensors = codec.encode(state)
    except UsageError as error:
        raise Defect(f"its state cannot be saved: {' '.join(str(error).split())}") from error
    payload = safetensors.torch.save({**tensors})
    return json.dumps(document).encode() + b"\0" + payload


def restored(data: bytes) -> Any:
    """Decode the result of `saved`, into new memory."""
    document, _, payload = data.partition(b"\0")
    return codec.decode(json.loads(document), safetensors.torch.load(payload))
