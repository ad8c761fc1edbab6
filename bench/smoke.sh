#!/usr/bin/env bash
# Figures through NBD beside the same fio straight on the backing file: ./run bench smoke
exec /usr/bin/python3 "$(dirname "$0")/smoke.py" "$@"
