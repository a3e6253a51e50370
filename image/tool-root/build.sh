#!/bin/sh
# build.sh OUT BUN HARNESS [LIBS]: the read-only root of every cage: Bun, the libraries it needs, the harness and net.js beside it,
# nothing else.
# LIBS is a root that holds lib/x86_64-linux-gnu (default: this machine's /). Same input, same tree.
set -eu
out=$1 bun=$2 harness=$3 libs=${4:-}
next="$out.new"
rm -rf "$next"
mkdir -p "$next/bin" "$next/lib/aria" "$next/lib/x86_64-linux-gnu" "$next/lib64" "$next/etc"
mkdir -p "$next/proc" "$next/tmp" "$next/dev" "$next/app" "$next/in" "$next/out" "$next/workspace"
install -m 0755 "$bun" "$next/bin/bun"
for lib in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2; do
    install -m 0755 "$(readlink -f "$libs/lib/x86_64-linux-gnu/$lib")" "$next/lib/x86_64-linux-gnu/$lib"
done
install -m 0755 "$(readlink -f "$libs/lib64/ld-linux-x86-64.so.2")" "$next/lib64/ld-linux-x86-64.so.2"
install -m 0644 "$harness" "$next/lib/aria/harness.js"
install -m 0644 "$(dirname "$harness")/net.js" "$next/lib/aria/net.js"
printf 'tool:x:1000:1000::/tmp:/nonexistent\n' > "$next/etc/passwd"
printf 'tool:x:1000:\n' > "$next/etc/group"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$next/etc/hosts"
printf 'hosts: files\n' > "$next/etc/nsswitch.conf"
chmod 0644 "$next"/etc/*
rm -rf "$out"
mv "$next" "$out"
