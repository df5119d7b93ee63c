"""``python -m fastcnn`` is the command line."""

import sys

from fastcnn.cli import main

sys.exit(main())
