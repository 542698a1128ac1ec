#!/bin/sh
# What happens in the guest, in three boots. The second serial port takes the report: sections
# that begin with "== NAME". Every section ends up there, whatever failed before.
exec >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw 2>/dev/null
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin NO_COLOR=1
state=/var/lib/conduct
mkdir -p $state
boot=$(cat $state/boot 2>/dev/null || echo 1)
echo $((boot + 1)) >$state/boot
section() { echo "== $boot $*"; }
is_active() { [ "$(systemctl is-active sekimori)" = active ]; }
# Waits up to so many seconds until a command has success.
wait_for() {
    seconds=$1
    shift
    while [ "$seconds" -gt 0 ]; do
        if "$@" >/dev/null 2>&1; then return 0; fi
        sleep 1
        seconds=$((seconds - 1))
    done
    echo "waited in vain for: $*"
    return 1
}
rogues() {
    for rogue in early service; do
        section "rogue-$rogue $1"
        cat /run/rogue-$rogue
    done
}
# Whether this kernel cannot have the gate, and firewall rules stand in for it.
is_too_old() {
    journalctl --boot --unit sekimori --output cat --no-pager | grep -q 'too old for the gate'
}
stand_in() {
    section state
    systemctl show sekimori --property ActiveState,SubState,NRestarts,Result,ExecMainStatus
    section daemon
    journalctl --boot --unit sekimori --output cat --no-pager | head -n 50
    section status
    sekimori status
    section stand-in
    wait_for 60 ping_host
    runuser -u nobody -- /usr/local/bin/xtask boot-part once
}
ping_host() { ip route get 10.0.2.2 | grep -q 'dev en'; }
network_is_up() { grep -q '10.0.2.2:8025 left' /run/rogue-service; }
refusals() { sekimori log --json | grep -c '"verdict":"refuse"'; }
notices() { sekimori log --json | grep '"type":"notice"' | tail -n "$1"; }
killed_and_back() {
    pid=$(systemctl show --property MainPID --value sekimori)
    kill -9 "$pid"
    wait_for 60 sh -c "[ \$(systemctl show --property MainPID --value sekimori) != $pid ]"
    wait_for 60 sekimori status
}

# Of people: without anything that root left in the environment.
as_person() { runuser -u person -- env -i PATH="$PATH" "$@" </dev/null 2>&1; }
# The same at a terminal, where somebody types this password.
as_person_with() {
    password=$1
    shift
    (sleep 10 && echo "$password" && sleep 5) |
        script -qec "runuser -u person -- env -i PATH=$PATH TERM=dumb $*" /dev/null
}
registered() { sekimori programs --json | grep -c /usr/local/bin/own-mailer; }

section kernel
uname -r
systemctl --version | head -n 1

case $boot in
1)
    section install
    /root/sekimori install
    echo "status $?"
    section state
    wait_for 60 systemctl is-active sekimori
    systemctl show sekimori --property ActiveState,SubState,NRestarts,Result
    section daemon
    journalctl --boot --unit sekimori --output cat --no-pager | head -n 200
    section status
    sekimori status --json
    if is_too_old; then
        stand_in
        systemctl reboot
        exit
    fi
    # What the attackers are, from the next boot on.
    systemctl enable rogue-early rogue-service
    systemctl reboot
    exit
    ;;
2)
    if is_too_old; then
        stand_in
        /usr/local/bin/xtask boot-part mark open
        section uninstall
        sekimori uninstall
        echo "status $?"
        section open
        runuser -u nobody -- /usr/local/bin/xtask boot-part once
        sleep 3
        systemctl poweroff
        exit
    fi
    wait_for 120 network_is_up
    sleep 5
    section state
    systemctl show sekimori --property ActiveState,SubState,NRestarts,Result,ExecMainStartTimestampMonotonic,ActiveEnterTimestampMonotonic
    for unit in sysinit.target network-pre.target systemd-networkd.service basic.target; do
        section "unit $unit"
        systemctl show $unit --property InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic
    done
    section cycles
    # The second shows that the start was read. What journalctl says of files that are just being
    # begun is no matter here.
    journalctl --boot --no-pager --output cat 2>/dev/null |
        grep -iE 'ordering cycle|reached target basic'
    section verify
    systemd-analyze verify --man=no sekimori.service
    echo "status $?"
    section exposure
    systemd-analyze security --no-pager sekimori.service | tail -n 1
    section daemon
    journalctl --boot --unit sekimori --output cat --no-pager | grep -v ' refuse ' | head -n 50
    section status
    sekimori status --json
    section hooks
    ls -1 /sys/fs/bpf/sekimori/links-*
    rogues start

    section killed
    killed_and_back
    wait_for 60 is_active
    systemctl show sekimori --property ActiveState,NRestarts
    rogues killed

    # Who may register programs is polkit's matter, and the administrator's.
    section polkit
    useradd --create-home --shell /bin/sh person
    useradd --groups sudo --shell /bin/sh admin
    echo admin:open-the-gate | chpasswd
    cp /bin/true /usr/local/bin/own-mailer
    as_person sekimori register /usr/local/bin/own-mailer
    echo "unasked status $? registered $(registered)"
    as_person_with wrong sekimori register /usr/local/bin/own-mailer
    echo "wrong-password status $? registered $(registered)"
    as_person_with open-the-gate sekimori register /usr/local/bin/own-mailer
    echo "password status $? registered $(registered)"
    as_person_with open-the-gate sekimori unregister /usr/local/bin/own-mailer
    echo "taken-back status $? registered $(registered)"
    cat >/etc/polkit-1/rules.d/10-person.rules <<END
polkit.addRule(function (action, subject) {
    if (action.id == "org.sekimori.register" && subject.user == "person") return polkit.Result.YES;
});
END
    chmod 644 /etc/polkit-1/rules.d/10-person.rules
    sleep 5
    as_person sekimori register /usr/local/bin/own-mailer
    echo "rule status $? registered $(registered)"
    # The rule is about one command and no other.
    as_person sekimori unregister /usr/local/bin/own-mailer
    echo "other-command status $? registered $(registered)"
    as_person pkexec /usr/local/sbin/sekimori uninstall
    echo "uninstall status $? active $(systemctl is-active sekimori)"
    rm /etc/polkit-1/rules.d/10-person.rules
    sekimori unregister /usr/local/bin/own-mailer

    # The clock of a machine without a battery, and of one that is set wrongly.
    section clock
    echo "refusals $(refusals)"
    before=$(sekimori log --json | head -n 1)
    now=$(date +%s)
    for clock in $((now + 31536000)) 86400 "$now"; do
        date --set "@$clock" >/dev/null
        last=$(sekimori log --json | tail -n 1 | sed 's/{"id":\([0-9]*\).*/\1/')
        runuser -u nobody -- /usr/local/bin/xtask boot-part once
        sleep 5
        new=$(sekimori log --json | sed 's/{"id":\([0-9]*\).*/\1/' | awk -v last="$last" '$1 > last' | wc -l)
        echo "clock $((clock - now)) $(date +%Y) new-entries $new"
    done
    [ "$(sekimori log --json | head -n 1)" = "$before" ] && echo "first entry kept"
    rogues clock

    section journal-removed
    rm /var/lib/sekimori/journal.db
    runuser -u nobody -- /usr/local/bin/xtask boot-part once
    sleep 2
    notices 3
    section folder-removed
    rm -r /var/lib/sekimori
    runuser -u nobody -- /usr/local/bin/xtask boot-part once
    sleep 2
    journalctl --boot --unit sekimori --output cat --no-pager | grep 'not kept' | tail -n 1
    killed_and_back
    runuser -u nobody -- /usr/local/bin/xtask boot-part once
    sleep 1
    notices 3
    rogues journal

    # From here on mail may leave: this packet tells it to whoever reads the recording.
    /usr/local/bin/xtask boot-part mark open
    section pins
    rm -r /sys/fs/bpf/sekimori/*
    rogues pins-removed
    killed_and_back
    rogues pins-removed-and-killed
    sleep 3
    rogues closed-again
    section status-again
    sekimori status --json
    /usr/local/bin/xtask boot-part mark closed
    systemctl reboot
    exit
    ;;
*)
    wait_for 120 network_is_up
    rogues third
    /usr/local/bin/xtask boot-part mark open
    section uninstall
    sekimori uninstall
    echo "status $?"
    sleep 3
    rogues open
    systemctl poweroff
    ;;
esac
