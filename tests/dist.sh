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
    usr/share/doc/respgate/LICENSE usr/share/doc/respgate/README.md usr/share/doc/respgate/CHANGELOG.md \
    usr/share/doc/respgate/docs/deployments.md; do
    [ -f "$tree/$file" ] || fail "$file is missing"
done
if find "$tree" -name '*.key' | grep -q .; then
    fail 'there are keys in it'
fi
"$tree/usr/local/bin/respgate" --version

# The configuration with certificates beside it, as it is when they are mounted.
respgate=$(realpath "$tree/usr/local/bin/respgate")
"$respgate" certs --out "$scratch/certs" >/dev/null
mkdir "$scratch/image"
cp -R "$tree/etc/respgate/." "$scratch/certs" "$scratch/image"
"$respgate" check --config "$scratch/image/respgate.toml"

# The set-ups of the documentation. Each file's block begins with its path, each set-up with respgate.toml.
awk -v out="$scratch/setup" '
    /^```/ { inside = !inside; file = ""; first = inside; next }
    first && sub("^# /etc/respgate/", "") {
        if ($0 == "respgate.toml") number++
        file = out number "/" $0
        dir = file
        sub("/[^/]*$", "", dir)
        system("mkdir -p " dir)
        first = 0
        next
    }
    { first = 0 }
    file { print > file }
' "$tree/usr/share/doc/respgate/README.md" "$tree/usr/share/doc/respgate/docs/deployments.md"
[ -d "$scratch/setup5" ] || fail 'the documentation has fewer than five set-ups'
for setup in "$scratch"/setup*; do
    cp -R "$scratch/certs" "$setup"
    sed -n 's/^password_file = "\([^"]*\)".*/\1/p' "$setup/respgate.toml" | while read -r file; do
        mkdir -p "$(dirname "$setup/$file")"
        (umask 077 && echo secret >"$setup/$file")
    done
    # The folder of the audit is made with the service, not here.
    RESPGATE__AUDIT__PATH=- "$respgate" check --config "$setup/respgate.toml" >"$scratch/log" 2>&1 \
        || { cat "$scratch/log" >&2; fail 'a set-up of the documentation is out of order'; }
    if grep warning "$scratch/log" >&2; then
        fail 'a set-up of the documentation has warnings'
    fi
done

# What the runtime image brings: the C library and libgcc, nothing else.
missing=$(ldd "$tree/usr/local/bin/respgate" | awk '{ print $1 }' \
    | grep -vE '^(linux-vdso|libc|libm|libgcc_s|libpthread|libdl|librt)\.so|/ld-linux|statically' || true)
[ -z "$missing" ] || fail "needs libraries that the image lacks: $missing"
echo 'dist: passed'
