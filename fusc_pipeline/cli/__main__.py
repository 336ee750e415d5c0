"""`python -m fusc_pipeline.cli`: the same as `fusc`."""

import sys

from fusc_pipeline.cli.main import main

sys.exit(main())
