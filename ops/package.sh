#!/usr/bin/env bash
# Builds the Debian package target/debian/decisiongraph_VERSION_ARCH.deb and prints where it is.
#
#   --binary FILE        package this binary instead of building one for release
#   --revision N         another build of the same version [1]
#   --output DIR         where the package goes [target/debian]
#   --compression TYPE   as dpkg-deb has it: xz, gzip, none [xz]
#
# The same commit and binary give the same bytes: all times are those of the commit.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
. "$project/ops/lib.sh"
umask 022
export LC_ALL=C

binary="" revision=1 output=$project/target/debian compression=xz
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 has no value, or is not known" "see the head of ops/package.sh"
    case $1 in
    --binary) binary=$(realpath -e "$2") ;;
    --revision) revision=$2 ;;
    --output) output=$(realpath -m "$2") ;;
    --compression) compression=$2 ;;
    *) fail "$1 is not known" "see the head of ops/package.sh" ;;
    esac
    shift 2
done
cd "$project"

need_rust
for tool in dpkg-deb dpkg-shlibdeps strip gzip; do
    command -v "$tool" >/dev/null 2>&1 ||
        fail "$tool was not found" "on Debian, as root: apt-get install dpkg-dev binutils gzip"
done
if [ -z "${SOURCE_DATE_EPOCH-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null) ||
        fail "the time of the commit is not known" "outside a git checkout, set SOURCE_DATE_EPOCH"
fi
export SOURCE_DATE_EPOCH

if [ -z "$binary" ]; then
    echo "building ..." >&2
    cargo build --release --locked --quiet -p dg-admin
    binary=target/release/decisiongraph
fi
version=$("$binary" --version | awk '{ print $2 }')-$revision
architecture=$(dpkg --print-architecture)
maintainer="${DEBFULLNAME:-DecisionGraph maintainers} <${DEBEMAIL:-maintainers@decisiongraph.example}>"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
doc=$root/usr/share/doc/decisiongraph

put() { install -D -m 644 "$1" "$root/$2"; }
zip() { gzip -9n >"$1"; }

# The program, without what only a debugger reads.
install -D -m 755 "$binary" "$root/usr/bin/decisiongraph"
strip --strip-unneeded --remove-section=.comment "$root/usr/bin/decisiongraph"

put ops/systemd/decisiongraph.service usr/lib/systemd/system/decisiongraph.service
put ops/systemd/decisiongraph.socket usr/lib/systemd/system/decisiongraph.socket
put ops/systemd/decisiongraph.sysusers usr/lib/sysusers.d/decisiongraph.conf
put ops/systemd/decisiongraph.tmpfiles usr/lib/tmpfiles.d/decisiongraph.conf

# Every key, with those set that the units need. The group is set at the installation; until then
# nobody else needs to read it.
install -D -m 640 ops/config.toml "$root/etc/decisiongraph/config.toml"
while IFS= read -r line; do
    sed -i "s|^#${line%% *} = .*|$line|" "$root/etc/decisiongraph/config.toml"
done < <(grep '^[a-z]' ops/systemd/config.toml)
[ "$(grep '^[a-z]' "$root/etc/decisiongraph/config.toml")" = "$(grep '^[a-z]' ops/systemd/config.toml)" ] ||
    fail "ops/config.toml does not have the keys of ops/systemd/config.toml in their order"

mkdir -p "$root/usr/share/man"
said=$("$binary" man "$root/usr/share/man/man1" 2>&1) || fail "$binary writes no manual: $said"
gzip -9n "$root"/usr/share/man/man1/*.1
completions() {
    mkdir -p "$root/usr/share/$2"
    "$binary" completions "$1" >"$root/usr/share/$2/$3"
}
completions bash bash-completion/completions decisiongraph
completions zsh zsh/vendor-completions _decisiongraph
completions fish fish/vendor_completions.d decisiongraph.fish

for file in README.md ops/prometheus/*.yml ops/grafana/*.json ops/runbooks/*.md; do
    put "$file" "usr/share/doc/decisiongraph/${file#ops/}"
done
# Alerts link the pages where they are installed.
sed -i "s|runbook_url: ops/|runbook_url: /usr/share/doc/decisiongraph/|" "$doc"/prometheus/*.yml
put ops/debian/copyright usr/share/doc/decisiongraph/copyright
put ops/debian/lintian-overrides usr/share/lintian/overrides/decisiongraph
# What is linked into the binary, with its licences.
cargo tree --locked --quiet -p dg-admin --edges normal --prefix none --format '{p} {l}' |
    grep -vE '\(/| \(\*\)$' | sed 's/ (proc-macro)//' | sort -u | zip "$doc/third-party.gz"
zip "$doc/changelog.Debian.gz" <<EOF
decisiongraph ($version) unstable; urgency=medium

  * Made from commit $(git rev-parse --short=12 HEAD 2>/dev/null || echo "that is not known").

 -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF

mkdir "$root/DEBIAN" "$work/debian"
install -m 755 ops/debian/{postinst,prerm,postrm} "$root/DEBIAN"
(cd "$root" && find etc -type f -printf '/%p\n') >"$root/DEBIAN/conffiles"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
# It reads the name of the source from the place where Debian keeps it.
echo "Source: decisiongraph" >"$work/debian/control"
depends=$(cd "$work" && dpkg-shlibdeps -O -eroot/usr/bin/decisiongraph 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$depends" ] || fail "the libraries that $binary needs are not those of installed packages"
sed -e "s|@VERSION@|$version|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@DEPENDS@|$depends|" \
    -e "s|@MAINTAINER@|$maintainer|" -e "s|@SIZE@|$(du -sk --apparent-size "$root/usr" | cut -f1)|" \
    ops/debian/control >"$root/DEBIAN/control"

mkdir -p "$output"
package=$output/decisiongraph_${version}_${architecture}.deb
# One thread: the bytes of more depend on their number.
dpkg-deb --root-owner-group -Z"$compression" --threads-max=1 --build "$root" "$package" >/dev/null
echo "$package"
