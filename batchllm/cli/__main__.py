"""``python -m batchllm.cli``, for where the script is not on the path."""

import sys

from batchllm.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
