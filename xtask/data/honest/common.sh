# What every machine has, told to a shell in its files: people, the network, the controller.
for user in taro hanako; do
    id $user >/dev/null 2>&1 || useradd --create-home --shell /bin/bash $user
done
usermod --append --groups sudo taro
echo 'taro ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/taro
printf 'taro:taro\nhanako:hanako\nroot:root\n' | chpasswd
printf '/dev/vda / ext4 defaults,noatime 0 1\nLABEL=honest /opt/honest ext4 ro,nofail 0 0\n' >/etc/fstab
mkdir -p /opt/honest /etc/systemd/system/sekimori.service.d /root/.ssh /home/taro/.ssh
# An emulated processor takes ten times as long.
printf '[Service]\nTimeoutStartSec=600\n' >/etc/systemd/system/sekimori.service.d/slow.conf
mkdir -p /etc/systemd/system.conf.d
printf '[Manager]\nDefaultTimeoutStartSec=600\n' >/etc/systemd/system.conf.d/slow.conf
printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet static\n address 10.0.2.15/24\n' >/etc/network/interfaces
cat >/etc/systemd/system/honest-agent.service <<X
[Unit]
Description=The controller's hands in the guest
RequiresMountsFor=/opt/honest
[Service]
ExecStart=/bin/bash /opt/honest/agent.sh
KillMode=process
[Install]
WantedBy=multi-user.target
X
cat >/etc/systemd/system/honest-sink.service <<X
[Unit]
Description=The outside: a mail server in a network of its own
RequiresMountsFor=/opt/honest
After=network.target
[Service]
ExecStart=/bin/sh /opt/honest/sink.sh
[Install]
WantedBy=multi-user.target
X
systemctl enable honest-agent honest-sink ssh serial-getty@ttyS1 >/dev/null 2>&1
systemctl disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer man-db.timer dpkg-db-backup.timer >/dev/null 2>&1 || :
[ -e /etc/aliases ] || : >/etc/aliases
sed -i '/^root:/d' /etc/aliases
echo 'root: admin@example.org' >>/etc/aliases
for user in taro hanako; do
    home=/home/$user
    printf 'defaults\naccount default\nhost 10.9.9.25\nport 587\nfrom %s@example.org\ntls off\nauth off\n' $user >$home/.msmtprc
    chmod 600 $home/.msmtprc
    printf 'set from="%s@example.org"\nset sendmail="/usr/bin/msmtp"\nset copy=no\nset folder="~/Mail"\nset abort_noattach=no\nset editor="true"\nset quit=yes\nset confirmappend=no\n' $user >$home/.muttrc
    printf '[user]\n name = %s\n email = %s@example.org\n[sendemail]\n smtpServer = 10.9.9.25\n smtpServerPort = 587\n to = bob@example.org\n confirm = never\n' $user $user >$home/.gitconfig
    mkdir -p $home/Desktop $home/Documents $home/Downloads
    chown -R $user: $home
done
# A program that nobody registered: what a person downloads, and what a bot is.
cat >/home/taro/Downloads/game.pl <<'X'
#!/usr/bin/perl
use IO::Socket::INET;
my $server = IO::Socket::INET->new("10.9.9.25:25") or die "game: $!\n";
for ("EHLO x", "MAIL FROM:<a\@example.org>", "RCPT TO:<b\@example.org>", "DATA", "Subject: $ARGV[0]\r\n\r\nbuy\r\n.", "QUIT") {
    print $server "$_\r\n";
    defined(my $answer = <$server>) or die "game: $!\n";
}
X
chmod 755 /home/taro/Downloads/game.pl
if command -v git >/dev/null; then
    su taro -c 'mkdir -p ~/repo && cd ~/repo && git init -q && echo a >a && git add a && git commit -q -m one' 2>/dev/null
fi
# A small initrd: the emulated processor unpacks it.
printf 'virtio_pci\nvirtio_blk\next4\n' >>/etc/initramfs-tools/modules
sed -i 's/^MODULES=.*/MODULES=list/' /etc/initramfs-tools/initramfs.conf
update-initramfs -u >/dev/null 2>&1
