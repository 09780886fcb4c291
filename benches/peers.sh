#!/usr/bin/env bash
# Measures inrush against nginx-rtmp and against the sink: the whole table of figures, as Markdown and as a page in target/peers.
#   benches/peers.sh                     all cases, five rounds: some 35 minutes
#   benches/peers.sh --only frame wan    these cases
#   benches/peers.sh --short             one short round with few connections: shows that every figure can be taken
# PEERS_PROFILE names another profile of cargo than release. All options: benches/peers.sh --help. Needs nginx with libnginx-mod-rtmp (`.ci/setup` brings it), two CPUs, and root for case `rtt`.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

# Where cargo has put an executable: of a target of this name and kind.
built() {
    local kind=$1 name=$2
    shift 2
    cargo build --locked --profile "${PEERS_PROFILE:-release}" --message-format json-render-diagnostics "$@" |
        sed -n "s/.*\"kind\":\[\"$kind\"\].*\"name\":\"$name\".*\"executable\":\"\([^\"]*\)\".*/\1/p"
}

inrush=$(built bin inrush --package inrush --bin inrush)
sink=$(built bench sink --package inrush --bench sink)
harness=$(built bin inrush-loadtest --package inrush-loadtest --bin inrush-loadtest)
exec "$harness" peers --inrush "$inrush" --sink "$sink" "$@"
