# What came of a row: the last entries of the journal, and whether the message arrived.
#   look.sh MARK
if grep -rqsF "$1" /var/log/honest; then echo 'at outside'; fi
if grep -rqsF "$1" /var/mail /var/spool/mail /home/taro/Maildir /home/hanako/Maildir; then echo 'at mailbox'; fi
sekimori log --json | tail -n 300
