#!/bin/sh
# A C program with a kernel that was emitted ahead of time. In a checkout:
#
#   examples/c/run.sh [TARGET [KEY [MORE OF `kernelgen emit`]]]
#
# TARGET is x86_64-linux [default], aarch64-linux (with aarch64-linux-gnu-gcc and qemu-aarch64-static) or x86_64-windows
# (with x86_64-w64-mingw32-gcc and wine).
# KERNELGEN is the program [default: the one in target/release, which is built].
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-x86_64-linux}
key=${2:-70x300-small-tensor-a8}
[ $# -lt 2 ] || shift
[ $# -lt 1 ] || shift

if [ -z "${KERNELGEN:-}" ]; then
    cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" -p craftsman-kernelgen
    KERNELGEN=$here/../../target/release/kernelgen
fi
case $target in
x86_64-linux) compiler=gcc run= ;;
x86_64-windows) compiler=x86_64-w64-mingw32-gcc run=wine ;;
aarch64-linux) compiler=aarch64-linux-gnu-gcc run=qemu-aarch64-static ;;
*) echo "error: $target has no C compiler here" >&2; exit 2 ;;
esac

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$KERNELGEN" emit "$key" --target "$target" --name product -o product.o "$@" | tee emitted
config=$(sed 's/.* by \([^ ]*\) for .*/\1/' emitted)
$compiler -std=c11 -O1 -Wall -Wextra -Werror -ffp-contract=off -static -I. -o main "$here/main.c" product.o -lm
program=./main
[ -e $program ] || program=./main.exe
set --
for matrix in $(seq 0 $(($(awk '$2 == "PRODUCT_MATRICES" { print $3 }' product.h) - 1))); do
    $run $program make "$matrix" "trits$matrix" "scales$matrix"
    set -- "$@" --trits "trits$matrix" --scales "scales$matrix"
done
"$KERNELGEN" pack "$key" --config "$config" "$@" -o packed
$run $program run packed
