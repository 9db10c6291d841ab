#!/usr/bin/env bash
# baseline.sh BUILD: everything but src/kernels/x86 is compiled for plain x86-64 (SSE2), so the program starts and
# reaches the CPU check on any such machine. Looks for later instructions in the object files.
# Not looked for: tzcnt, which compilers write for plain x86-64 too (older CPUs run it as bsf).
set -euo pipefail
build=$1

# VEX and EVEX instructions all start with v (verr and verw apart); registers above xmm15, masks and tiles are AVX-512
# and AMX; the rest are SSE3 to SSE4.2, POPCNT, BMI, MOVBE, ADX.
later='^(v[a-z0-9.]+|lddqu|addsubp[sd]|h(add|sub)p[sd]|mov(ddup|s[hl]dup|be|ntdqa)|ph(add|sub)(w|d|sw)'
later+='|pmaddubsw|pmulhrsw|pshufb|psign[bwd]|palignr|pabs[bwd]|dpp[sd]|p?blend(v|w|p)[a-z0-9]*|round[sp][sd]'
later+='|(insert|extract)ps|p(insr|extr)[bdq]|pm(in|ax)(sb|sd|uw|ud)|pmul(ld|dq)|ptest|pcmp(eqq|gtq|[ei]str[im])'
later+='|packusdw|pmov[sz]x[a-z]+|mpsadbw|phminposuw|crc32[bwlq]?|popcnt[wlq]?|lzcnt[wlq]?|andn|bextr|bls(i|r|msk)'
later+='|bzhi|mulx|pdep|pext|rorx|s(ar|hl|hr)x|ad[co]x[lq]?|cmpxchg16b|fisttp[a-z]*|tile[a-z0-9]+|tdp[a-z0-9]+'
later+='|ldtilecfg)$'
registers='%([yzt]mm|k[1-7]|xmm(1[6-9]|[23][0-9]))'

mapfile -t objects < <(find "$build/CMakeFiles/tessera_objects.dir" "$build/cli" -name '*.o' ! -path '*/kernels/x86/*')
[ ${#objects[@]} -gt 0 ] || { echo "no object files below $build"; exit 1; }

found=0
for object in "${objects[@]}"; do
    # objdump -d prints address, tab, bytes, tab, mnemonic and operands.
    lines=$(objdump -d --no-show-raw-insn -- "$object" | awk -F'\t' -v later="$later" -v registers="$registers" '
        /^[0-9a-f]+ <.*>:$/ { name = $1; sub(/^[0-9a-f]+ /, "", name) }
        NF >= 2 {
            instruction = $2
            sub(/^((rep|repz|repnz|lock|data16|bnd|notrack|cs|ds) )+/, "", instruction)
            mnemonic = instruction
            sub(/ .*/, "", mnemonic)
            if ((mnemonic ~ later && mnemonic !~ /^ver[rw]$/) || instruction ~ registers) {
                if (++n <= 5)
                    print "  " name " " instruction
            }
        }')
    if [ -n "$lines" ]; then
        echo "${object#"$build"/}: needs more than plain x86-64:"
        echo "$lines"
        found=1
    fi
done

if grep -q -- '-march=native' "$build/compile_commands.json"; then
    echo "-march=native is in the compile commands"
    found=1
fi
echo "${#objects[@]} object files looked at"
exit "$found"
