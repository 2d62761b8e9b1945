"""Files that no check of ours can clear are read by a child process first: ITK aborts on some damaged ones.

A child that aborts, hangs or asks for more memory than there is ends as one clear line, not as the end of all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..errors import BadInputError
from ..sentences import marked as _
from .memory import available_bytes

_SECONDS = 300.0
_PROGRAM = """
import os, sys
if sys.platform == "linux":
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import SimpleITK as sitk
source, target = os.fsencode(sys.argv[2]), sys.argv[3]
if target:
    sitk.WriteImage(sitk.ReadImage(os.fsdecode(source)), target, useCompression=False)
else:
    sitk.ReadTransform(os.fsdecode(source))
"""


def read_in_child(source: str, name: str, target: Path | None = None) -> None:
    """Have a child process read a transform, or an image that it then writes uncompressed.

    Args:
        source: path of the file.
        name: its name for the message.
        target: .nrrd file to write the image to; None for a transform, which is only read.

    Raises:
        BadInputError: if the child failed, aborted or did not end; ``detail`` has what it said.
    """
    command = [sys.executable, "-c", _PROGRAM, str(available_bytes()), source, str(target or "")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BadInputError(
            _("{name} could not be read within {seconds:.0f} s; it may be damaged.").format(
                name=name, seconds=_SECONDS
            )
        ) from error
    if child.returncode != 0:
        said = child.stderr.decode("utf-8", "replace")
        raise BadInputError(
            _("{name} could not be read: it is damaged, or of a kind that is not known.").format(name=name),
            detail=said,
        )
