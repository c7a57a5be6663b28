#!/bin/sh
# Starts `wetread` with each secret named WETREAD_* as the setting of that name, so that none stands in a
# compose file or in `docker inspect`.
set -eu
for secret in "${SECRETS:-/run/secrets}"/WETREAD_*; do
  if [ -f "$secret" ]; then
    value=$(cat "$secret")
    export "${secret##*/}=$value"
  fi
done
exec wetread "$@"
