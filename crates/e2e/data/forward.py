"""TUN and TAP devices of root and of a user, and what is sent through them: for tests/forward.rs.

Arguments: a folder for the device node, the user, and what to play."""
import ctypes, fcntl, json, os, select, socket, struct, sys, time

FOLDER, PERSON, MODE = sys.argv[1], int(sys.argv[2]), sys.argv[3]
TUN, TAP, NO_PI, PERSIST = 1, 2, 0x1000, 0x400454CB
NODE = os.path.join(FOLDER, "tun")
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
control6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)


def device(name, kind, owner=None, persist=False):
    fd = os.open(NODE, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), kind | NO_PI))
    if owner is not None:
        fcntl.ioctl(fd, 0x400454CC, owner)
    if persist:
        fcntl.ioctl(fd, PERSIST, 1)
    return fd


def index(name):
    request = fcntl.ioctl(control, 0x8933, struct.pack("16s24x", name.encode()))
    return struct.unpack("16xi20x", request)[0]


def up(name, address=None, address6=None):
    name_ = name.encode()
    if address:
        for call, value in ((0x8916, address), (0x891C, "255.255.255.0")):
            place = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(value))
            fcntl.ioctl(control, call, struct.pack("16s16s8x", name_, place))
    fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", name_, 0x1 | 0x40))
    if address6:
        place = socket.inet_pton(socket.AF_INET6, address6)
        fcntl.ioctl(control6, 0x8916, place + struct.pack("Ii", 64, index(name)))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source, target, port, flags, payload=b"", sequence=1):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target)
    tcp = struct.pack("!HHIIBBHHH", 40000, port, sequence, 1, 0x50, flags, 64000, 0, 0) + payload
    pseudo = ends + struct.pack("!IHH", len(tcp), 0, 6)
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
    if family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + ends + tcp
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp


def message(source, target, port):
    """A whole conversation of a sender that does not wait for the server."""
    lines = [b"EHLO bot\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<c@d.example>\r\n",
             b"DATA\r\n", b"Subject: buy\r\n\r\nbuy\r\n.\r\n", b"QUIT\r\n"]
    yield packet(source, target, port, 0x02)
    sequence = 2
    for line in lines:
        yield packet(source, target, port, 0x18, line, sequence)
        sequence += len(line)


def arrived(fd, port, skip=0, flags=None, seconds=0.7):
    """Packets of TCP from or to the port that come out of a device."""
    count, until = 0, time.time() + seconds
    while time.time() < until:
        if not select.select([fd], [], [], 0.05)[0]:
            continue
        data = os.read(fd, 65536)[skip:]
        head = 40 if data[0] >> 4 == 6 else 20
        if data[6 if head == 40 else 9] != 6:
            continue
        ports = struct.unpack("!HH", data[head:head + 4])
        if port in ports and (flags is None or data[head + 13] == flags):
            count += 1
    return count


def as_person():
    os.setresgid(PERSON, PERSON, PERSON)
    os.setresuid(PERSON, PERSON, PERSON)


def answer(count):
    print(json.dumps({"left": count}))


def send(inside, outside, packets, port, frame=b""):
    for one in packets:
        os.write(inside, frame + one)
    answer(arrived(outside, port, len(frame)))


def attribute(kind, content):
    return struct.pack("HH", len(content) + 4, kind) + content + b"\0" * (-len(content) % 4)


def cable(name, pid):
    """A pair of veth, the other end in the network namespace of a process."""
    info = struct.pack("BBHiII", 0, 0, 0, 0, 0, 0)
    peer = info + attribute(3, b"eth0\0") + attribute(19, struct.pack("I", pid))
    kind = attribute(1, b"veth") + attribute(2, attribute(1, peer))
    body = info + attribute(3, name.encode() + b"\0") + attribute(18, kind)
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    netlink.send(struct.pack("IHHII", len(body) + 16, 16, 0x605, 1, 0) + body)
    error = struct.unpack("i", netlink.recv(4096)[16:20])[0]
    assert error == 0, os.strerror(-error)


def behind_a_cable(name, address, as_user, pause):
    """A container of the user's, or of root's, sends by a cable that root made."""
    outside = device("tun1", TUN)
    libc = ctypes.CDLL(None, use_errno=True)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        spaces = 0x40000000
        if as_user:
            as_person()
            libc.prctl(4, 1, 0, 0, 0)
            spaces |= 0x10000000
        done = libc.unshare(spaces)
        os.write(ready[1], b"n" if done else b"y")
        target = os.read(go[0], 6)
        card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        global control
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        up("eth0")
        card.bind(("eth0", 0x800))
        time.sleep(pause)
        for one in message(address, V4[1], 25):
            card.send(target + b"\x02\0\0\0\0\x01" + b"\x08\0" + one)
        time.sleep(2)
        os._exit(0)
    if os.read(ready[0], 1) != b"y":
        print(json.dumps({"skipped": "users may make no namespaces here"}))
        return
    cable(name, child)
    up(name, address[:-1] + "1")
    hardware = fcntl.ioctl(control, 0x8927, struct.pack("16s24x", name.encode()))
    os.write(go[1], hardware[18:24])
    answer(arrived(outside, 25, seconds=pause + 1.5))
    os.waitpid(child, 0)


V4 = ("10.77.0.2", "203.0.113.9")
V6 = ("fd00:77::2", "2001:db8:9::9")
if MODE == "make":
    os.mknod(NODE, 0o20666, os.makedev(10, 200))
    os.chmod(NODE, 0o666)
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with open("/proc/sys/net/" + path, "w") as file:
            file.write("1")
    os.close(device("tun0", TUN, PERSON, True))
    os.close(device("tun1", TUN, 0, True))
    os.close(device("tap0", TAP, PERSON, True))
    os.close(device("tap1", TAP, 0, True))
    up("tun0", "10.77.0.1", "fd00:77::1")
    up("tun1", "203.0.113.1", "2001:db8:9::1")
    fcntl.ioctl(control, 0x89A0, b"br0".ljust(16, b"\0"))
    for port in ("tap0", "tap1"):
        fcntl.ioctl(control, 0x89A2, struct.pack("16si20x", b"br0", index(port)))
        up(port)
    up("br0")
elif MODE in ("ipv4", "ipv6", "web"):
    ends = V6 if MODE == "ipv6" else V4
    port = 80 if MODE == "web" else 25
    outside = device("tun1", TUN)
    as_person()
    inside = device("tun0", TUN)
    time.sleep(0.1)
    send(inside, outside, message(*ends, port), port)
elif MODE == "bridged":
    outside = device("tap1", TAP)
    as_person()
    inside = device("tap0", TAP)
    time.sleep(0.1)
    frame = b"\x02\0\0\0\0\x01" + b"\x02\0\0\0\0\x02" + b"\x08\0"
    send(inside, outside, message(*V4, 587), 587, frame)
elif MODE == "local":
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("10.77.0.1", 25))
    server.listen()
    as_person()
    inside = device("tun0", TUN)
    time.sleep(0.1)
    os.write(inside, packet("10.77.0.2", "10.77.0.1", 25, 0x02))
    answer(arrived(inside, 25, flags=0x12))
elif MODE == "fresh":
    # Root makes one more, and its user writes as soon as it is there.
    outside = device("tun1", TUN)
    inside = device("tun9", TUN, PERSON)
    up("tun9", "10.79.0.1")
    send(inside, outside, message("10.79.0.2", V4[1], 25), 25)
elif MODE == "root":
    # From the other side: what root's device brings is root's matter.
    outside = device("tun1", TUN)
    inside = device("tun0", TUN)
    time.sleep(0.1)
    send(outside, inside, message(V4[1], V4[0], 25), 25)
elif MODE == "cable":
    behind_a_cable("cable0", "10.78.0.2", True, 0.1)
elif MODE == "cable-later":
    behind_a_cable("cable1", "10.78.1.2", True, 2.5)
elif MODE == "roots-cable":
    behind_a_cable("cable2", "10.78.2.2", False, 2.5)
