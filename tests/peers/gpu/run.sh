#!/bin/sh
# Measures everything and writes results/; see README.md. The work is in run.py.
exec python3 "$(dirname "$0")/run.py" "$@"
