#!/usr/bin/env bash
# symbols.sh tessera.h libtessera.so SONAME: the library exports the functions that the header declares, all of them
# and nothing else. The header is read by the compiler here, not by the pattern that made the linker's list.
set -euo pipefail
header=$1 library=$2 soname=$3

declared=$(gcc -std=c11 -fsyntax-only -aux-info /dev/stdout "$header" |
    grep -oE '\btsr_[a-z0-9_]+ \(' | tr -d ' (' | sort -u)
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
[ -n "$declared" ] || { echo "no declarations read from $header"; exit 1; }

missing=$(comm -23 <(echo "$declared") <(echo "$exported"))
extra=$(comm -13 <(echo "$declared") <(echo "$exported"))
[ -z "$missing" ] || printf 'declared but not exported:\n%s\n' "$missing"
[ -z "$extra" ] || printf 'exported but not declared:\n%s\n' "$extra"

found=$(objdump -p "$library" | awk '$1 == "SONAME" { print $2 }')
[ "$found" = "$soname" ] || { echo "SONAME is '$found', not '$soname'"; exit 1; }
echo "$(wc -l <<<"$declared") functions declared, $(wc -l <<<"$exported") exported"
[ -z "$missing$extra" ]
