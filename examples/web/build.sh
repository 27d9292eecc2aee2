#!/bin/sh
# Puts the page together with the carried model and the kernels for its shapes. In a checkout:
#
#   examples/web/build.sh FOLDER && python3 -m http.server --directory FOLDER
#
# KERNELGEN is the program [default: the one in target/release, which is built].
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: build.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"

if [ -z "${KERNELGEN:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" -p craftsman-kernelgen
    KERNELGEN=$here/../../target/release/kernelgen
fi
# What `craftsman inspect --keys` names for this model, one token at a time; in the layout that kernels.js packs.
"$KERNELGEN" emit --target wasm --config simd128-i2s.masked-1x1s1u2p0 -o "$1/kernels.wasm" \
    256x256-decode-tensor-a8 128x256-decode-tensor-a8 256x256-decode-tensor-a8-add \
    768x256-decode-tensor-a8-relu2 256x768-decode-tensor-a8-add
cp "$here/index.html" "$here"/*.js "$1"
cp "$here/../../runtime/craftsman/assets/python-5m-i2_s.gguf" "$1/model.gguf"
