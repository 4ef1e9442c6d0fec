#!/bin/sh
# Tries the tree that `make dist` made, which is what the image holds: dist.sh TREE
set -eu
tree=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "dist: $*" >&2
    exit 1
}

for file in usr/local/bin/respgate etc/respgate/respgate.toml etc/respgate/users.acl \
    usr/share/doc/respgate/LICENSE usr/share/doc/respgate/README.md; do
    [ -f "$tree/$file" ] || fail "$file is missing"
done
if find "$tree" -name '*.key' | grep -q .; then
    fail 'there are keys in it'
fi
"$tree/usr/local/bin/respgate" --version

# The configuration with certificates beside it, as it is when they are mounted.
cp -R "$tree/etc/respgate/." "$scratch"
"$tree/usr/local/bin/respgate" certs --out "$scratch/certs" >/dev/null
"$tree/usr/local/bin/respgate" check --config "$scratch/respgate.toml"

# What the runtime image brings: the C library and libgcc, nothing else.
missing=$(ldd "$tree/usr/local/bin/respgate" | awk '{ print $1 }' \
    | grep -vE '^(linux-vdso|libc|libm|libgcc_s|libpthread|libdl|librt)\.so|/ld-linux|statically' || true)
[ -z "$missing" ] || fail "needs libraries that the image lacks: $missing"
echo 'dist: passed'
