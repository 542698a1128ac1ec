#!/bin/bash
# The controller's hands in the guest: runs what comes over the virtio port as root.
#   in:  ID SECONDS SCRIPT-IN-BASE64
#   out: ID STATUS OUTPUT-IN-BASE64
port=/dev/virtio-ports/org.sekimori.honest
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1 LANG=C.UTF-8
modprobe virtio_console
until [ -c "$port" ]; do sleep 1; done
exec 3<>"$port"
while :; do
    if ! read -r -u 3 id seconds script; then
        sleep 1
        continue
    fi
    base64 -d <<<"$script" >/run/honest.script
    timeout --kill-after 5 "$seconds" bash /run/honest.script >/run/honest.output 2>&1 </dev/null 3>&-
    status=$?
    printf '%s %s %s\n' "$id" "$status" "$(tail -c 200000 /run/honest.output | base64 -w 0)" >&3
done
