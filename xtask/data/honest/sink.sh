# A network of its own, with the mail server of the outside.
ip netns add outside 2>/dev/null
ip link add inner type veth peer name outer netns outside 2>/dev/null
ip addr add 10.9.9.1/24 dev inner
ip link set inner up
ip -n outside addr add 10.9.9.25/24 dev outer
ip -n outside link set outer up
ip -n outside link set lo up
mkdir -p /var/log/honest
exec ip netns exec outside /opt/honest/xtask honest-part sink /var/log/honest 10.9.9.25:25 10.9.9.25:465 10.9.9.25:587
