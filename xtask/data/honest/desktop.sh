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
# A browser without questions, and a page with a mail link that has the focus.
mkdir -p /home/taro/browser
printf 'user_pref("security.external_protocol_requires_permission", false);\nuser_pref("browser.shell.checkDefaultBrowser", false);\nuser_pref("browser.aboutwelcome.enabled", false);\nuser_pref("datareporting.policy.dataSubmissionEnabled", false);\nuser_pref("toolkit.startup.max_resumed_crashes", -1);\n' >/home/taro/browser/user.js
printf '{"defaultHandlersVersion":{},"mimeTypes":{},"schemes":{"mailto":{"action":4,"ask":false}}}\n' >/home/taro/browser/handlers.json
printf '<html><body onload="document.links[0].focus()"><a href="mailto:bob@example.org">mail</a></body></html>\n' >/home/taro/link.html
# Claws Mail, a real mailer that emulation can bear: an account that only sends, and no questions.
claws=/home/taro/.claws-mail
mkdir -p $claws /home/taro/Mail/inbox /home/taro/Mail/sent /home/taro/Mail/draft /home/taro/Mail/queue /home/taro/Mail/trash
printf '[Common]\nwarn_empty_subj=0\nask_apply_per_account_filtering_rules=0\n' >$claws/clawsrc
printf '[Account: 1]\naccount_name=taro\nis_default=1\nname=taro\naddress=taro@example.org\nprotocol=6\nreceive_server=\nsmtp_server=10.9.9.25\nset_smtpport=1\nsmtp_port=587\nuse_smtp_auth=0\n' >$claws/accountrc
cat >$claws/folderlist.xml <<X
<?xml version="1.0" encoding="UTF-8"?>
<folderlist><folder type="mh" name="Mailbox" path="Mail">
<folderitem type="inbox" name="inbox" path="inbox"/>
<folderitem type="outbox" name="sent" path="sent"/>
<folderitem type="draft" name="draft" path="draft"/>
<folderitem type="queue" name="queue" path="queue"/>
<folderitem type="trash" name="trash" path="trash"/>
</folder></folderlist>
X
printf 'From: a@example.org\nTo: taro@example.org\nSubject: hi\n\nhello\n' >/home/taro/Documents/mail.eml
cp /usr/share/applications/probemail.desktop /home/taro/Desktop/
chmod 755 /home/taro/Desktop/probemail.desktop
chown -R taro: /home/taro
systemctl set-default graphical.target >/dev/null 2>&1
