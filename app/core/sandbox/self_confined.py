"""A process that confines itself and then becomes the program that it was started for.

`python -m app.core.sandbox.self_confined <access as JSON> <command> ...`
"""

from __future__ import annotations

import os
import sys

from app.core.sandbox.confined import confine_this_thread
from app.core.sandbox.landlock import FileAccess

if __name__ == "__main__":
    confine_this_thread(FileAccess.of_json(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  an argument list, and this process shall become it
