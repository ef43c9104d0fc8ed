"""Heavy: OpenVINO, today's or 2022.3, imported without its telemetry. Nothing else happens here.

`import openvino` sends an event, and so does every conversion: a machine without internet waits for DNS. No environment
variable prevents that; a missing openvino_telemetry module does.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino as ov  # noqa: E402

if not hasattr(ov, "Core"):  # 2022.3, the last line with the stick's plugin
    import openvino.runtime as ov

__all__ = ["ov"]
