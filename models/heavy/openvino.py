"""Heavy: OpenVINO, today's or 2022.3, which must not call home. Nothing else happens here.

`import openvino` itself sends an event, and every conversion more: a machine without internet waits on DNS. No
environment variable stops that; a missing openvino_telemetry module does.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402

if not hasattr(ov, "Core"):  # 2022.3, the last line with the stick's plugin
    import openvino.runtime as ov

__all__ = ["ov"]
