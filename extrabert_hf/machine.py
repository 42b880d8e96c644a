"""What a figure was measured on."""

import platform
import re
from pathlib import Path
from typing import Any

import torch

CPU_INFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Names the processor, PyTorch's threads and version, and the accelerator where there is one."""
    machine = {"cpu": _cpu_model(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    if torch.accelerator.is_available():
        device = torch.accelerator.current_accelerator()
        machine["accelerator"] = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    return machine


def _cpu_model() -> str:
    """As Linux names it; elsewhere, and where Linux gives no name (ARM), the architecture."""
    text = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.machine()
