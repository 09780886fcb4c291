#!/usr/bin/env bash
# Measures inrush against nginx-rtmp and against the sink: the whole table of figures, as Markdown and as a page in target/peers.
#   benches/peers.sh                     all cases, five rounds: some 35 minutes
#   benches/peers.sh --only frame wan    these cases
#   benches/peers.sh --short             one short round with few connections: shows that every figure can be taken
# PEERS_PROFILE names another profile of cargo than release. All options: benches/peers.sh --help. Needs nginx with libnginx-mod-rtmp (`.ci/setup` brings it), two CPUs, and root for case `rtt`.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

# What cargo says of the executables that it builds. The release is built as users build it. Another profile is for tests, and built with the
# workspace as these are: what is built alone has dependencies with other features, which would all be built anew.
if [ -z "${PEERS_PROFILE:-}" ]; then
    build() { cargo build --locked --release --message-format json-render-diagnostics "$@"; }
    messages=$(build --package inrush --bin inrush && build --package inrush --bench sink &&
        build --package inrush-loadtest --bin inrush-loadtest)
else
    messages=$(cargo build --locked --workspace --profile "$PEERS_PROFILE" --message-format json-render-diagnostics \
        --bin inrush --bin inrush-loadtest --bench sink)
fi
# Where the executable of a target of this kind and name is.
built() { sed -n "s/.*\"kind\":\[\"$1\"\].*\"name\":\"$2\".*\"executable\":\"\([^\"]*\)\".*/\1/p" <<<"$messages"; }

exec "$(built bin inrush-loadtest)" peers --inrush "$(built bin inrush)" --sink "$(built bench sink)" "$@"
