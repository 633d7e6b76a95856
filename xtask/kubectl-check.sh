#!/bin/sh
# Says in the first second whether kubectl 1.28 or newer is on PATH; never fails.
if ! command -v kubectl >/dev/null 2>&1; then
  echo "note: kubectl is not on PATH (1.28 or newer is wanted): this command prints the tables itself" >&2
else
  minor=$(kubectl version --client -o yaml 2>/dev/null | sed -n 's/.*gitVersion: v1\.\([0-9]*\).*/\1/p' | head -1)
  if [ -z "$minor" ] || [ "$minor" -lt 28 ]; then
    echo "note: kubectl on PATH is older than 1.28: this command prints the tables itself" >&2
  fi
fi
