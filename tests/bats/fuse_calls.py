# SPDX-License-Identifier: GPL-2.0-or-later
# The calls that tests/bats/fuse-errno.py makes, each on one path.
#
# A call gives None where there is nothing to tell but that it worked, or what it got;
# failures are OSErrors.  At most four bytes of p and of its neighbours are changed.
import ctypes, errno, fcntl, mmap, os, signal, socket, stat, struct, sys, tempfile

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
L = ctypes.c_long
AT_FDCWD, PATH_FLAG = -100, 0o10000000
KEEP_SIZE, PUNCH_HOLE, COLLAPSE, ZERO_RANGE, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
# Requests of ioctl as the kernel's headers make them.
BLKGETSIZE64, BLKSSZGET, BLKDISCARD = 0x80081272, 0x1268, 0x1277
FIBMAP, FIGETBSZ, FIONREAD, FICLONE = 1, 2, 0x541b, 0x40049409
FS_IOC_GETFLAGS, FS_IOC_FIEMAP, FITRIM = 0x80086601, 0xc020660b, 0xc0185879
FS_IOC_GETVERSION, FS_IOC_FSGETXATTR = 0x80087601, 0x801c581f


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")


def opened(flags):
    def call(path):
        os.close(os.open(path, flags, 0o600))
    return call


def with_fd(flags, work):
    def call(path):
        fd = os.open(path, flags)
        try:
            return work(fd)
        finally:
            os.close(fd)
    return call


def size_of(fd):
    return os.fstat(fd).st_size


def reading(work):
    return with_fd(os.O_RDONLY, work)


def writing(work):
    return with_fd(os.O_RDWR, work)


def fallocated(mode, at=lambda size: 0, length=4, way=writing):
    def work(fd):
        checked(libc.fallocate(fd, mode, L(at(size_of(fd))), L(length)))
    return way(work)


def map_file(fd, length, protection, flags):
    base = libc.mmap(None, ctypes.c_size_t(length), protection, flags, fd, L(0))
    if base == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "")
    return base


def mapped(flags, protection):
    def work(fd):
        base = map_file(fd, 4096, protection, flags)
        ctypes.string_at(base, 1)
        if protection & mmap.PROT_WRITE:
            ctypes.memset(base, 33, 1)
        libc.munmap(ctypes.c_void_p(base), ctypes.c_size_t(4096))
    return work


def map_past_the_end(fd):
    """Whole pages past the end raise SIGBUS: asked of a child, which says how it ended."""
    inside = (size_of(fd) + 4095) // 4096 * 4096
    base = map_file(fd, inside + 4096, PR, mmap.MAP_SHARED)
    child = os.fork()
    if child == 0:
        os._exit(ctypes.string_at(base + inside, 1)[0])
    libc.munmap(ctypes.c_void_p(base), ctypes.c_size_t(inside + 4096))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "SIGBUS" if status == -signal.SIGBUS else status


def ioctl(request, argument=b"\0" * 64):
    def work(fd):
        fcntl.ioctl(fd, request, argument)
    return reading(work)


def sought(whence, where=lambda size: 0, says=lambda found, size: None):
    def work(fd):
        size = size_of(fd)
        return says(os.lseek(fd, where(size), whence), size)
    return reading(work)


def in_temporary(work):
    def call(fd):
        with tempfile.TemporaryFile() as file:
            file.write(b"!?!?")
            file.flush()
            file.seek(0)
            return work(fd, file.fileno())
    return call


def through_pipe(work):
    def call(fd):
        out, into = os.pipe()
        try:
            return work(fd, out, into)
        finally:
            os.close(out), os.close(into)
    return call


def splice_in(fd, out, into):
    os.write(into, b"!?!?")
    return os.splice(out, fd, 4, offset_dst=0)


def send_out(fd):
    a, b = socket.socketpair()
    with a, b:
        return os.sendfile(a.fileno(), fd, 0, 4)


def locked_posix(fd):
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.lockf(fd, fcntl.LOCK_UN)


def locked_flock(fd):
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(fd, fcntl.LOCK_UN)


def leased(fd):
    fcntl.fcntl(fd, 1024, fcntl.F_RDLCK)
    fcntl.fcntl(fd, 1024, fcntl.F_UNLCK)


def append(fd):
    os.lseek(fd, 0, 0)
    return os.write(fd, b"!")


def beside(path):
    return os.path.join(os.path.dirname(path), "other")


def renamed(flags, to=beside):
    def call(path):
        checked(libc.renameat2(AT_FDCWD, path.encode(), AT_FDCWD, to(path).encode(), flags))
    return call


def accessible(mode):
    def call(path):
        checked(libc.access(path.encode(), mode))
    return call


def attribute(path, follow=True):
    return os.getxattr(path, "user.x", follow_symlinks=follow)


def by_handle(path):
    """Opened by a file handle, as a server of NFS does it."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    checked(libc.name_to_handle_at(AT_FDCWD, path.encode(), handle, ctypes.byref(ctypes.c_int()), 0))
    fd = os.open(MOUNT, R)
    try:
        opened = libc.open_by_handle_at(fd, handle, R)
        checked(opened)
        os.close(opened)
    finally:
        os.close(fd)


def same_mode(path):
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode))


def same_owner(path):
    st = os.stat(path)
    os.chown(path, st.st_uid, st.st_gid)


def another(path):
    return MOUNT + ("/p2" if path == MOUNT + "/p1" else "/p1")


MOUNT = sys.argv[1] if len(sys.argv) > 1 else "/"
R, W, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
PR, PW = mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
ZEROS = b"!" * 4

CALLS = {
    "stat": lambda p: os.stat(p) and None,
    "lstat": lambda p: os.lstat(p) and None,
    "access F_OK": accessible(0),
    "access R_OK": accessible(4),
    "access W_OK": accessible(2),
    "access X_OK": accessible(1),
    "open O_RDONLY": opened(R),
    "open O_WRONLY": opened(W),
    "open O_RDWR": opened(RW),
    "open mode 3": opened(3),
    "open O_PATH": opened(PATH_FLAG),
    "open O_TRUNC": opened(R | os.O_TRUNC),
    "open O_WRONLY|O_TRUNC": opened(W | os.O_TRUNC),
    "open O_APPEND": opened(W | os.O_APPEND),
    "open O_DIRECT": opened(R | os.O_DIRECT),
    "open O_RDWR|O_DIRECT": opened(RW | os.O_DIRECT),
    "open O_RDWR|O_SYNC": opened(RW | os.O_SYNC),
    "open O_NONBLOCK": opened(R | os.O_NONBLOCK),
    "open O_NOATIME": opened(R | os.O_NOATIME),
    "open O_CREAT": opened(R | os.O_CREAT),
    "open O_RDWR|O_CREAT": opened(RW | os.O_CREAT),
    "open O_CREAT|O_EXCL": opened(RW | os.O_CREAT | os.O_EXCL),
    "open O_DIRECTORY": opened(R | os.O_DIRECTORY),
    "open O_NOFOLLOW": opened(R | os.O_NOFOLLOW),
    "open O_RDWR|O_TMPFILE": opened(RW | os.O_TMPFILE),
    "read": reading(lambda fd: len(os.read(fd, 4))),
    "read at the end": reading(lambda fd: len(os.pread(fd, 4, size_of(fd)))),
    "read past the end": reading(lambda fd: len(os.pread(fd, 4, 1 << 62))),
    "read across the end": reading(lambda fd: len(os.pread(fd, 40, size_of(fd) - 4))),
    "read before the start": reading(lambda fd: os.pread(fd, 4, -1)),
    "read by a writer": with_fd(W, lambda fd: os.read(fd, 4)),
    "read O_DIRECT": with_fd(R | os.O_DIRECT, lambda fd: os.preadv(fd, [mmap.mmap(-1, 4096)], 0) > 0 or 0),
    "read O_DIRECT at odd places": with_fd(R | os.O_DIRECT, lambda fd: len(os.pread(fd, 5, 3))),
    "readv": reading(lambda fd: os.preadv(fd, [bytearray(2), bytearray(3)], 1)),
    "write": writing(lambda fd: os.pwrite(fd, ZEROS, 0)),
    "write nothing": writing(lambda fd: os.pwrite(fd, b"", 0)),
    "write nothing at the end": writing(lambda fd: os.pwrite(fd, b"", size_of(fd))),
    "write across the end": writing(lambda fd: os.pwrite(fd, ZEROS * 9, size_of(fd) - 4)),
    "write at the end": writing(lambda fd: os.pwrite(fd, b"!", size_of(fd))),
    "write past the end": writing(lambda fd: os.pwrite(fd, b"!", 1 << 61)),
    "write before the start": writing(lambda fd: os.pwrite(fd, b"!", -1)),
    "write by a reader": reading(lambda fd: os.write(fd, b"!")),
    "write O_APPEND": with_fd(W | os.O_APPEND, append),
    "write RWF_APPEND": writing(lambda fd: os.pwritev(fd, [b"!"], 0, 0x10)),
    "write RWF_DSYNC": writing(lambda fd: os.pwritev(fd, [ZEROS], 0, os.RWF_DSYNC)),
    "write O_DSYNC": with_fd(W | os.O_DSYNC, lambda fd: os.write(fd, ZEROS)),
    "write O_DIRECT": with_fd(W | os.O_DIRECT, lambda fd: os.pwrite(fd, ZEROS, 1)),
    "truncate 0": lambda p: os.truncate(p, 0),
    "truncate more": lambda p: os.truncate(p, 1 << 40),
    "truncate below 0": lambda p: checked(libc.truncate(p.encode(), L(-1))),
    "ftruncate": writing(lambda fd: os.ftruncate(fd, 1)),
    "ftruncate by a reader": reading(lambda fd: os.ftruncate(fd, 1)),
    "fallocate": fallocated(0),
    "fallocate by a reader": fallocated(0, way=reading),
    "fallocate keep size": fallocated(KEEP_SIZE),
    "fallocate past the end": fallocated(0, lambda size: size),
    "fallocate punch": fallocated(KEEP_SIZE | PUNCH_HOLE),
    "fallocate punch at the end": fallocated(KEEP_SIZE | PUNCH_HOLE, lambda size: size),
    "fallocate punch, size may change": fallocated(PUNCH_HOLE),
    "fallocate zero": fallocated(ZERO_RANGE),
    "fallocate zero across the end": fallocated(ZERO_RANGE, lambda size: size - 2),
    "fallocate zero, keep size": fallocated(ZERO_RANGE | KEEP_SIZE, lambda size: size - 2),
    "fallocate zero and punch": fallocated(ZERO_RANGE | PUNCH_HOLE | KEEP_SIZE),
    "fallocate collapse": fallocated(COLLAPSE, length=4096),
    "fallocate insert": fallocated(INSERT, length=4096),
    "fallocate unshare": fallocated(UNSHARE),
    "fallocate nothing": fallocated(ZERO_RANGE, length=0),
    "fallocate before the start": fallocated(ZERO_RANGE, lambda size: -1),
    "seek to data": sought(os.SEEK_DATA),
    "seek to a hole": sought(os.SEEK_HOLE),
    "seek to data at the end": sought(os.SEEK_DATA, lambda size: size),
    "seek to a hole at the end": sought(os.SEEK_HOLE, lambda size: size),
    "seek to a hole before the start": sought(os.SEEK_HOLE, lambda size: -1),
    "seek to the end": sought(os.SEEK_END, says=lambda found, size: None if found == size else found),
    "seek past the end": sought(os.SEEK_SET, lambda size: size + 9),
    "seek before the start": sought(os.SEEK_SET, lambda size: -1),
    "seek by a whence there is not": sought(77),
    "map shared, to read": reading(mapped(mmap.MAP_SHARED, PR)),
    "map private, to read": reading(mapped(mmap.MAP_PRIVATE, PR)),
    "map private, to write": reading(mapped(mmap.MAP_PRIVATE, PW)),
    "map shared, to write, by a reader": reading(mapped(mmap.MAP_SHARED, PW)),
    "map shared, to write": writing(mapped(mmap.MAP_SHARED, PW)),
    "map shared, to read, by a writer": writing(mapped(mmap.MAP_SHARED, PR)),
    "map private, by a writer": writing(mapped(mmap.MAP_PRIVATE, PW)),
    "map past the end": reading(map_past_the_end),
    "fsync": reading(os.fsync),
    "fsync by a writer": writing(os.fsync),
    "fdatasync": reading(os.fdatasync),
    "fdatasync by a writer": writing(os.fdatasync),
    "syncfs": reading(lambda fd: checked(libc.syncfs(fd))),
    "sync_file_range": reading(lambda fd: checked(libc.sync_file_range(fd, L(0), L(4), 7))),
    "fadvise": reading(lambda fd: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)),
    "readahead": reading(lambda fd: checked(libc.readahead(fd, L(0), ctypes.c_size_t(4096)))),
    "copy_file_range out": reading(in_temporary(lambda fd, tmp: os.copy_file_range(fd, tmp, 4, 0, 0))),
    "copy_file_range in": writing(in_temporary(lambda fd, tmp: os.copy_file_range(tmp, fd, 4, 0, 0))),
    "copy_file_range within": writing(lambda fd: os.copy_file_range(fd, fd, 4, 0, 4096)),
    "copy_file_range to past the end": writing(lambda fd: os.copy_file_range(fd, fd, 4, 0, size_of(fd))),
    "copy_file_range from the end": writing(lambda fd: os.copy_file_range(fd, fd, 4, size_of(fd) - 2, 0)),
    "copy_file_range onto itself": writing(lambda fd: os.copy_file_range(fd, fd, 4, 0, 2)),
    "splice out": reading(through_pipe(lambda fd, out, into: os.splice(fd, into, 4, offset_src=0))),
    "splice in": writing(through_pipe(splice_in)),
    "sendfile out": reading(send_out),
    "sendfile in": writing(in_temporary(lambda fd, tmp: os.sendfile(fd, tmp, 0, 4))),
    "clone": writing(in_temporary(lambda fd, tmp: fcntl.ioctl(fd, FICLONE, tmp))),
    "chmod to what it is": same_mode,
    "chmod": lambda p: os.chmod(p, 0o777),
    "fchmod": reading(lambda fd: os.fchmod(fd, 0o777)),
    "chown to what it is": same_owner,
    "chown": lambda p: os.chown(p, 1, 1),
    "lchown": lambda p: os.lchown(p, 1, 1),
    "chgrp": lambda p: os.chown(p, -1, 1),
    "fchown": reading(lambda fd: os.fchown(fd, 1, 1)),
    "utime now": lambda p: os.utime(p),
    "utime then": lambda p: os.utime(p, (1, 2)),
    "lutime": lambda p: os.utime(p, follow_symlinks=False),
    "link": lambda p: os.link(p, beside(p), follow_symlinks=False),
    "link onto": lambda p: os.link(os.path.join(MOUNT, "p1"), p),
    "link from elsewhere": lambda p: os.link("/proc/self/status", os.path.join(p, "new")),
    "symlink": lambda p: os.symlink("x", p),
    "symlink into": lambda p: os.symlink("x", os.path.join(p, "new")),
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "mkdir": os.mkdir,
    "mkdir into": lambda p: os.mkdir(os.path.join(p, "new")),
    "mkfifo": os.mkfifo,
    "mknod": lambda p: os.mknod(p, stat.S_IFCHR | 0o600, 0x103),
    "mkfifo into": lambda p: os.mkfifo(os.path.join(p, "new")),
    "rename": renamed(0),
    "rename, replacing": renamed(0, another),
    "rename to itself": renamed(0, lambda p: p),
    "rename to below itself": renamed(0, lambda p: os.path.join(p, "below")),
    "rename NOREPLACE": renamed(NOREPLACE),
    "rename NOREPLACE, replacing": renamed(NOREPLACE, another),
    "rename EXCHANGE": renamed(EXCHANGE, another),
    "rename WHITEOUT": renamed(WHITEOUT),
    "rename by flags there are not": renamed(0x100),
    "readlink": lambda p: os.readlink(p) and None,
    "readdir": lambda p: os.listdir(p) and None,
    "chdir": lambda p: os.chdir(p) or os.chdir("/"),
    "exec": lambda p: checked(libc.execve(p.encode(), None, None)),
    "statfs": lambda p: os.statvfs(p) and None,
    "getxattr": attribute,
    "lgetxattr": lambda p: attribute(p, False),
    "getxattr of ACLs": lambda p: os.getxattr(p, "system.posix_acl_access"),
    "getxattr of security": lambda p: os.getxattr(p, "security.capability"),
    "getxattr without a namespace": lambda p: os.getxattr(p, "x"),
    "listxattr": lambda p: len(os.listxattr(p)),
    "setxattr": lambda p: os.setxattr(p, "user.x", b"y"),
    "setxattr trusted": lambda p: os.setxattr(p, "trusted.x", b"y"),
    "setxattr of ACLs": lambda p: os.setxattr(p, "system.posix_acl_access", struct.pack(
        "<IHHIHHIHHI", 2, 1, 6, 0xffffffff, 4, 4, 0xffffffff, 32, 4, 0xffffffff)),
    "removexattr": lambda p: os.removexattr(p, "user.x"),
    "flock": reading(locked_flock),
    "fcntl lock": writing(locked_posix),
    "lease": reading(leased),
    "ioctl BLKGETSIZE64": ioctl(BLKGETSIZE64),
    "ioctl BLKSSZGET": ioctl(BLKSSZGET),
    "ioctl BLKDISCARD": ioctl(BLKDISCARD, struct.pack("QQ", 0, 512)),
    "ioctl FIBMAP": ioctl(FIBMAP),
    "ioctl FIGETBSZ": ioctl(FIGETBSZ),
    "ioctl FIONREAD": ioctl(FIONREAD),
    "ioctl FIEMAP": ioctl(FS_IOC_FIEMAP, struct.pack("QQIIII", 0, 1 << 62, 0, 0, 0, 0)),
    "ioctl FS_IOC_GETFLAGS": ioctl(FS_IOC_GETFLAGS),
    "ioctl FS_IOC_GETVERSION": ioctl(FS_IOC_GETVERSION),
    "ioctl FS_IOC_FSGETXATTR": ioctl(FS_IOC_FSGETXATTR),
    "ioctl FITRIM": ioctl(FITRIM, struct.pack("QQQ", 0, 1 << 62, 0)),
    "ioctl that there is not": ioctl(0xdead),
    "open by handle": by_handle,
}


def answer(name, path):
    """What call NAME on PATH says, in a word."""
    try:
        got = CALLS[name](path)
    except OSError as failure:
        return {errno.EOPNOTSUPP: "EOPNOTSUPP"}.get(failure.errno) or errno.errorcode.get(failure.errno, "?")
    return "ok" if got is None or got is True else str(got)
