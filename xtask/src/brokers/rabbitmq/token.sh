#!/bin/sh
# Prints an access token of {service}, good for $1 seconds (300). It stands for an issuer.
set -eu
b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
now=$(date +%s)
until=$((now + ${1:-300}))
head=$(printf '{"alg":"RS256","typ":"JWT","kid":"shop"}' | b64)
body=$(printf '{"sub":"{service}","aud":"rabbitmq","scope":"{scope}","iat":%s,"exp":%s}' "$now" "$until" | b64)
signature=$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -sign '{home}/issuer.key' | b64)
printf '%s.%s.%s\n' "$head" "$body" "$signature"
