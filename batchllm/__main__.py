"""``python -m batchllm``: the command line, if the script ``batchllm`` is not on the path."""

import sys

from batchllm.cli import main

if __name__ == "__main__":
    sys.exit(main())
