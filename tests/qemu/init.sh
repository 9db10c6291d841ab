#!/bin/busybox sh
# The first process of the machine that numa.py makes: runs Tessera with every --numa and shows where the pages of its
# memory lie and where its threads may run while it generates. The kernel's command line says what to run:
# tessera.modes=none,mirror tessera.tokens=N tessera.again=mirror
/bin/busybox --install -s /bin # finds itself by its whole name
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
option() { sed -n "s/.*tessera\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

# MODE NAME: each part of the answer between marks, all on the console
run() {
    rm -f /tmp/text /tmp/status
    {
        tessera run -m /model.gguf -p "The history of the computer began" -n "$(option tokens)" --ignore-eos --temp 0 \
            -t "$(nproc)" --verbose --huge-pages off --cache-dir /tmp/cache --cache-limit 1G --numa "$1" \
            >/tmp/text 2>/tmp/notes
        echo $? >/tmp/status
    } &
    until [ -s /tmp/text ] || [ -s /tmp/status ]; do sleep 0.1; done # until the first token
    pid=$(pidof tessera)
    kill -STOP "$pid" 2>/dev/null # threads may change places while they are looked at
    echo "@@ $2 maps"
    cat /proc/$pid/numa_maps
    echo "@@ $2 threads"
    for task in /proc/$pid/task/*; do sed -n 's/^Cpus_allowed_list:\t*//p' "$task/status"; done
    kill -CONT "$pid" 2>/dev/null
    wait
    echo "@@ $2 status"
    cat /tmp/status
    echo "@@ $2 text"
    cat /tmp/text
    echo
    echo "@@ $2 notes"
    cat /tmp/notes
    echo "@@"
}

echo # what firmware and kernel wrote ends here
for mode in $(option modes | tr , ' '); do
    run "$mode" "$mode"
done
[ "$(option again)" ] && run "$(option again)" again # its packed weights are in the cache by now
echo "@@ end"
poweroff -f
