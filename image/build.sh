#!/bin/sh
# Builds the static binary inside the image's builder, for the machine that the builder is of, and lays out what the image holds:
# `build.sh TARGET_FOLDER IMAGE_FOLDER`.
set -eu
built=$1 image=$2

target=$(rustc -vV | sed -n 's/^host: //p')
case $target in
*-unknown-linux-gnu) ;;
*)
    echo "the builder's Rust is for $target: expected glibc's, such as docker.io/library/rust:1.95-bookworm has" >&2
    exit 1
    ;;
esac

# librdkafka is built from its C sources and links OpenSSL. Debian's packages have the static libraries, too.
if ! { pkg-config --exists openssl && cc --version && make --version; } >/dev/null 2>&1; then
    apt-get update -q
    apt-get install -y -q --no-install-recommends ca-certificates gcc libc6-dev libssl-dev make pkg-config
fi

# Folders of the build that would otherwise stand in the binary, in messages of panics and of C's assertions.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
here=$(pwd)
export RUSTFLAGS="-C target-feature=+crt-static \
--remap-path-prefix=$here=/sakidori --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$built=/target"
export CFLAGS="-O2 -ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$built=/target"
export OPENSSL_STATIC=1
export CARGO_TARGET_DIR="$built" CARGO_INCREMENTAL=0

# The folder of what was built before may be shared by several clones, and cargo compares times only: a file that is older than the
# last build of another clone would count as built.
find . -type f -exec touch {} +

# The map says what the linker took from the system's libraries. GNU's linker leaves out the unwinder's tables of functions that are not in the
# binary, which lld keeps. Relocations are packed: a static binary has one for each entry of a table of functions. That is 4 MB less.
map=$built/sakidori.map
cargo rustc --locked --release --target "$target" --package sakidori --bin sakidori -- \
    -C link-arg=-fuse-ld=bfd -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg="-Wl,-Map=$map"

mkdir -p "$image/etc/ssl/certs" "$image/licenses"
cp "$built/$target/release/sakidori" "$image/sakidori"
cp /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/"
cp LICENSE "$image/licenses/"
# The bill of materials and the licences. For the builder itself, so without what is set for the image's binary.
env -u RUSTFLAGS -u CFLAGS cargo run --locked --quiet --package sakidori-sbom -- "$target" "$map" "$cargo_home" "$image"

# The same in each build of the same sources.
chmod 755 "$image/sakidori"
chmod -R go=rX "$image"
find "$image" -exec touch --date="@${SOURCE_DATE_EPOCH:-0}" {} +
