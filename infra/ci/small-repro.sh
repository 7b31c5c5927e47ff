#!/bin/sh
# The whole DAG on few rows, for a check of a change: `small-repro.sh BASE` prints the figures beside those of the commit BASE.
# What it changes in params.yaml is for this check alone, and is not committed.
set -eu
base=$1
days=${SMALL_HISTORY_DAYS:-92}
python - "$days" <<'PYTHON'
import sys
from pathlib import Path
from ruamel.yaml import YAML

yaml, file = YAML(), Path("params.yaml")
params = yaml.load(file)
params["data"]["history_days"] = min(int(sys.argv[1]), params["data"]["history_days"])
params["tune"]["trials"] = 0
enabled = params["candidates"]["enabled"]
params["candidates"]["enabled"] = {name: pool for name, pool in enabled.items() if name in {"linear", "lightgbm"}} or enabled
yaml.dump(params, file)
PYTHON
evergreen data pin >&2
dvc repro >&2
echo "### This change, on $days days of history, without tuning"
echo
dvc metrics show --md
echo
if git cat-file -e "$base:dvc.lock" 2>/dev/null; then
    echo "<details><summary>against $base, whose rows and candidates may be others</summary>"
    echo
    dvc metrics diff --md "$base"
    echo
    echo "</details>"
fi
