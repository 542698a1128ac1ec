# What a machine with a desktop has beside: a session that begins by itself, and a mailer.
mkdir -p /etc/lightdm/lightdm.conf.d /etc/sddm.conf.d /etc/sekimori/catalog.d /usr/share/dbus-1/services
printf '[Seat:*]\nautologin-user=taro\nautologin-session=@SESSION@\nuser-session=@SESSION@\n' >/etc/lightdm/lightdm.conf.d/50.conf
printf '[Autologin]\nUser=taro\nSession=@SESSION@\n' >/etc/sddm.conf.d/50.conf
if [ -d /etc/gdm3 ]; then
    printf '[daemon]\nAutomaticLoginEnable=true\nAutomaticLogin=taro\nWaylandEnable=true\n' >/etc/gdm3/daemon.conf
fi
# The probe: a stand-in for a graphical mailer, where a real one is too slow under emulation.
# It opens no window, connects at once and sends one message. A catalog of the machine's own
# names it, as README.md says, because no distribution has it.
cat >/etc/sekimori/catalog.d/probe.toml <<X
[[program]]
name = "Probe"
role = "mailer"
kind = "interactive"
paths = ["/usr/bin/probemail"]
X
cat >/usr/share/applications/probemail.desktop <<X
[Desktop Entry]
Type=Application
Name=Zprobe Mail
Comment=A stand-in for a mailer
Exec=/usr/bin/probemail honest-part probe menu %u
Icon=internet-mail
Terminal=false
Categories=Network;Email;
MimeType=x-scheme-handler/mailto;message/rfc822;
X
cat >/usr/share/dbus-1/services/org.example.Probe.service <<X
[D-BUS Service]
Name=org.example.Probe
Exec=/usr/bin/probemail honest-part probe by-dbus
X
mkdir -p /home/taro/.local/share/xfce4/helpers /home/taro/.config/xfce4
printf '[Default Applications]\nx-scheme-handler/mailto=probemail.desktop\nmessage/rfc822=probemail.desktop\n' >/home/taro/.config/mimeapps.list
echo MailReader=custom-MailReader >/home/taro/.config/xfce4/helpers.rc
cat >/home/taro/.local/share/xfce4/helpers/custom-MailReader.desktop <<X
[Desktop Entry]
NoDisplay=true
Version=1.0
Encoding=UTF-8
Type=X-XFCE-Helper
X-XFCE-Category=MailReader
X-XFCE-CommandsWithParameter=/usr/bin/probemail honest-part probe helper "%s"
X-XFCE-Commands=/usr/bin/probemail honest-part probe helper
Icon=probemail
Name=probemail
X
printf 'From: a@example.org\nTo: taro@example.org\nSubject: hi\n\nhello\n' >/home/taro/Documents/mail.eml
cp /usr/share/applications/probemail.desktop /home/taro/Desktop/
chmod 755 /home/taro/Desktop/probemail.desktop
chown -R taro: /home/taro
systemctl set-default graphical.target >/dev/null 2>&1
