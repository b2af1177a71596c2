# SPDX-License-Identifier: GPL-2.0-or-later
# What every call answers on every kind of node of a mount.
#
#   fuse-errno.py MOUNT rw|ro root|reader|writer|owner
#
# MOUNT is a folder with by-partlabel/odd -> ../p2 and gaps, or a file.  rw, ro: how it is
# mounted.  A reader and a writer are users to whom the image's mode gives that much and
# whose modes the kernel checks; an owner mounted it for himself alone.  Everything that
# is not as it should be is printed.
import os, sys
from fuse_calls import CALLS, answer

# Kinds of nodes: the mount's root; a folder; disk, partitions and gaps; a text; a link to
# one of the former; a name that there is not; a name below a file.  What a cell says is
# what root is told in a writable mount; "=": what the column to the left says, and a link
# what its block says; nothing: ENOENT and ENOTDIR.  A|B: either.  A mark tells what the
# others get:
#   *  EROFS in a read-only mount; EACCES where the mode gives no right to write
#   !  EROFS; EACCES for other users, whatever the image's mode
#   ^  EROFS; EPERM for other users
#   ~  EROFS;      @  EACCES for other users;      %  EPERM for other users
TABLE = """
call                              root         folder          block           text            link            none            inside
stat                              ok           =               ok              ok
lstat                             ok           =               ok              ok
access F_OK                       ok           =               ok              ok
access R_OK                       ok           =               ok              ok
access W_OK                       ok*          =               ok*             ok*
access X_OK                       ok           =               EACCES          EACCES

open O_RDONLY                     ok           =               ok              ok
open O_WRONLY                     EISDIR       =               ok*             EPERM*
open O_RDWR                       EISDIR       =               ok*             EPERM*
open mode 3                       EISDIR       =               ok*             EPERM*
open O_PATH                       ok           =               ok              ok
open O_TRUNC                      EISDIR       =               ok*             EPERM*
open O_WRONLY|O_TRUNC             EISDIR       =               ok*             EPERM*
open O_APPEND                     EISDIR       =               ok*             EPERM*
open O_DIRECT                     EINVAL       =               ok              ok
open O_RDWR|O_DIRECT              EISDIR       =               ok*             EPERM*
open O_RDWR|O_SYNC                EISDIR       =               ok*             EPERM*
open O_NONBLOCK                   ok           =               ok              ok
open O_NOATIME                    ok%          =               ok%             ok%
open O_CREAT                      EISDIR       =               ok              ok              =               EPERM*
open O_RDWR|O_CREAT               EISDIR       =               ok*             EPERM*          =               EPERM*
open O_CREAT|O_EXCL               EEXIST       =               EEXIST          EEXIST          =               EPERM*
open O_DIRECTORY                  ok           =               ENOTDIR         ENOTDIR
open O_NOFOLLOW                   ok           =               ok              ok              ELOOP
open O_RDWR|O_TMPFILE             EOPNOTSUPP*  =               ENOTDIR         ENOTDIR

read                              EISDIR       =               4               4

read at the end                   EISDIR       =               0               0

read past the end                 EISDIR       =               0               0

read across the end               EINVAL       =               4               4

read before the start             EINVAL       =               EINVAL          EINVAL

read by a writer                  EISDIR       =               EBADF*          EPERM*

read O_DIRECT                     EINVAL       =               ok              ok

read O_DIRECT at odd places       EINVAL       =               5|EINVAL        5
readv                             EISDIR       =               5               5

write                             EISDIR       =               4*              EPERM*

write nothing                     EISDIR       =               0*              EPERM*

write nothing at the end          EISDIR       =               0*              EPERM*

write across the end              EISDIR       =               4*              EPERM*

write at the end                  EISDIR       =               ENOSPC*         EPERM*

write past the end                EISDIR       =               ENOSPC*         EPERM*

write before the start            EISDIR       =               EINVAL*         EPERM*

write by a reader                 EBADF        =               EBADF           EBADF

write O_APPEND                    EISDIR       =               ENOSPC*         EPERM*

write RWF_APPEND                  EISDIR       =               ENOSPC*         EPERM*

write RWF_DSYNC                   EISDIR       =               4*              EPERM*

write O_DSYNC                     EISDIR       =               4*              EPERM*

write O_DIRECT                    EISDIR       =               4*              EPERM*

truncate 0                        EISDIR       =               ok*             EPERM*
truncate more                     EISDIR       =               ok*             EPERM*
truncate below 0                  EINVAL       =               EINVAL          EINVAL          =               EINVAL          EINVAL
ftruncate                         EISDIR       =               ok*             EPERM*
ftruncate by a reader             EINVAL       =               EINVAL          EINVAL
fallocate                         EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate by a reader             EBADF        =               EBADF           EBADF
fallocate keep size               EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate past the end            EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate punch                   EISDIR       =               ok*             EPERM*
fallocate punch at the end        EISDIR       =               ok*             EPERM*
fallocate punch, size may change  EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate zero                    EISDIR       =               ok*             EPERM*
fallocate zero across the end     EISDIR       =               EFBIG*          EPERM*
fallocate zero, keep size         EISDIR       =               ok*             EPERM*
fallocate zero and punch          EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate collapse                EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate insert                  EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate unshare                 EISDIR       =               EOPNOTSUPP*     EPERM*
fallocate nothing                 EISDIR       =               EINVAL*         EPERM*
fallocate before the start        EISDIR       =               EINVAL*         EPERM*

seek to data                      ENXIO        =               ok              ok
seek to a hole                    ENXIO        =               ok              ok

seek to data at the end           ENXIO        =               ENXIO           ENXIO
seek to a hole at the end         ENXIO        =               ENXIO           ENXIO
seek to a hole before the start   ENXIO        =               ENXIO           ENXIO
seek to the end                   ok           =               ok              ok
seek past the end                 ok           =               ok              ok
seek before the start             EINVAL       =               EINVAL          EINVAL
seek by a whence there is not     EINVAL       =               EINVAL          EINVAL

map shared, to read               ENODEV       =               ok              ENODEV
map private, to read              ENODEV       =               ok              ok
map private, to write             ENODEV       =               ok              ok
map shared, to write, by a reader EACCES       =               EACCES          EACCES
map shared, to write              EISDIR       =               ENODEV*         EPERM*
map shared, to read, by a writer  EISDIR       =               ENODEV*         EPERM*
map private, by a writer          EISDIR       =               ok*             EPERM*
map past the end                  ENODEV       =               SIGBUS          ENODEV

fsync                             ok           =               ok              ok

fsync by a writer                 EISDIR       =               ok*             EPERM*
fdatasync                         ok           =               ok              ok
fdatasync by a writer             EISDIR       =               ok*             EPERM*
syncfs                            ok           =               ok              ok
sync_file_range                   ok           =               ok              ok
fadvise                           ok           =               ok              ok
readahead                         EINVAL       =               ok              ok

copy_file_range out               EISDIR       =               EXDEV           EXDEV
copy_file_range in                EISDIR       =               EXDEV*          EPERM*
copy_file_range within            EISDIR       =               4*              EPERM*
copy_file_range to past the end   EISDIR       =               ENOSPC*         EPERM*
copy_file_range from the end      EISDIR       =               2*              EPERM*
copy_file_range onto itself       EISDIR       =               EINVAL*         EPERM*
splice out                        EINVAL       =               4               4
splice in                         EISDIR       =               4*              EPERM*
sendfile out                      EINVAL       =               4               4
sendfile in                       EISDIR       =               4*              EPERM*
clone                             EISDIR       =               EXDEV*          EPERM*

chmod to what it is               ok^          =               ok^             ok^
chmod                             EPERM^       =               EPERM^          EPERM^
fchmod                            EPERM^       =               EPERM^          EPERM^
chown to what it is               ok^          =               ok^             ok^
chown                             EPERM^       =               EPERM^          EPERM^
lchown                            EPERM^       =               EPERM^          EPERM^
chgrp                             EPERM^       =               EPERM^          EPERM^
fchown                            EPERM^       =               EPERM^          EPERM^
utime now                         EPERM*       =               ok*             EPERM*
utime then                        EPERM^       =               ok^             EPERM^
lutime                            EPERM*       =               ok*             EPERM*          EPERM^

link                              EXDEV        EPERM^|EPERM!   EPERM^|EPERM!   EPERM^|EPERM!   EPERM^|EPERM!
link onto                         EEXIST       =               EEXIST          EEXIST          =               EPERM^|EPERM!
link from elsewhere               EXDEV~       =               ENOTDIR         ENOTDIR
symlink                           EEXIST       =               EEXIST          EEXIST          =               EPERM!
symlink into                      EPERM!       =               ENOTDIR         ENOTDIR
unlink                            EISDIR@      EISDIR!         EPERM!          EPERM!          =               ENOENT~
rmdir                             EBUSY@       EPERM!          ENOTDIR!        ENOTDIR!        =               ENOENT~
mkdir                             EEXIST       =               EEXIST          EEXIST          =               EPERM!
mkdir into                        EPERM!       =               ENOTDIR         ENOTDIR
mkfifo                            EEXIST       =               EEXIST          EEXIST          =               EPERM!
mknod                             EEXIST       =               EEXIST          EEXIST          =               EPERM!
mkfifo into                       EPERM!       =               ENOTDIR         ENOTDIR
rename                            EBUSY@       EPERM!          EPERM!          EPERM!          =               ENOENT~
rename, replacing                 EXDEV        ENOTDIR!        EPERM!          EPERM!          =               ENOENT~
rename to itself                  ok           ok~             ok~             ok~             =               ENOENT~
rename to below itself            EXDEV        EINVAL~         ENOTDIR         ENOTDIR
rename NOREPLACE                  EBUSY@       EPERM!          EPERM!          EPERM!          =               ENOENT~
rename NOREPLACE, replacing       EXDEV        EEXIST~         EEXIST~         EEXIST~         =               ENOENT~
rename EXCHANGE                   EXDEV        EPERM!          EPERM!          EPERM!          =               ENOENT~
rename WHITEOUT                   EBUSY@       EPERM!          EPERM!          EPERM!          =               ENOENT~
rename by flags there are not     EINVAL       =               EINVAL          EINVAL          =               EINVAL          EINVAL

readlink                          EINVAL       =               EINVAL          EINVAL          ok
readdir                           ok           =               ENOTDIR         ENOTDIR
chdir                             ok           =               ENOTDIR         ENOTDIR
exec                              EACCES       =               EACCES          EACCES
statfs                            ok           =               ok              ok

getxattr                          ENODATA      =               ENODATA         ENODATA
lgetxattr                         ENODATA      =               ENODATA         ENODATA
getxattr of ACLs                  ENODATA      =               ENODATA         ENODATA
getxattr of security              ENODATA      =               ENODATA         ENODATA
getxattr without a namespace      ENODATA      =               ENODATA         ENODATA
listxattr                         0            =               0               0
setxattr                          EPERM*       =               EPERM*          EPERM*
setxattr trusted                  EPERM^       =               EPERM^          EPERM^
setxattr of ACLs                  EPERM^       =               EPERM^          EPERM^
removexattr                       EPERM*       =               EPERM*          EPERM*

flock                             ok           =               ok              ok
fcntl lock                        EISDIR       =               ok*             EPERM*
lease                             EINVAL@      =               ok@             ok@

ioctl BLKGETSIZE64                ENOTTY       =               ENOTTY          ENOTTY
ioctl BLKSSZGET                   ENOTTY       =               ENOTTY          ENOTTY
ioctl BLKDISCARD                  ENOTTY       =               ENOTTY          ENOTTY
ioctl FIBMAP                      ENOTTY       =               ok%             ok%
ioctl FIGETBSZ                    ok           =               ok              ok
ioctl FIONREAD                    ENOTTY       =               ok              ok
ioctl FIEMAP                      EOPNOTSUPP   =               EOPNOTSUPP      EOPNOTSUPP
ioctl FS_IOC_GETFLAGS             ENOTTY       =               ENOTTY          ENOTTY
ioctl FS_IOC_GETVERSION           ENOTTY       =               ENOTTY          ENOTTY
ioctl FS_IOC_FSGETXATTR           ENOTTY       =               ENOTTY          ENOTTY
ioctl FITRIM                      ENOTTY       =               ENOTTY          ENOTTY
ioctl that there is not           ENOTTY       =               ENOTTY          ENOTTY
open by handle                    ok%          =               ok%             ok%             ELOOP%
"""

# A file as mount point has names in a folder that is not ours.
IN_A_FILE_MOUNT = {
    "link": "EXDEV", "link onto": "ENOTDIR", "unlink": "EBUSY", "rmdir": "ENOTDIR",
    "rename": "EBUSY", "rename to itself": "ok", "rename NOREPLACE": "EBUSY",
    "rename WHITEOUT": "EBUSY", "rename, replacing": "ENOTDIR",
    "rename NOREPLACE, replacing": "ENOTDIR", "rename EXCHANGE": "ENOTDIR",
}

# The owner is told what root is told, but for these: by the kernel, which knows that he is
# not root, and by our own word on modes, which root need not heed.
OF_THE_OWNER = {
    "ioctl FIBMAP": {"block": "EPERM", "text": "EPERM", "link": "EPERM"},
    "open by handle": dict.fromkeys(("root", "folder", "block", "text", "link"), "EPERM"),
    "access W_OK": dict.fromkeys(("root", "folder", "text"), "EACCES!"),
}

MARKS = {  # EROFS in a read-only mount; what other users get
    "*": (True, "EACCES"), "!": (True, "EACCES"), "^": (True, "EPERM"),
    "~": (True, None), "@": (False, "EACCES"), "%": (False, "EPERM"),
}


def columns():
    """The name of each and where it begins, from the table's first line."""
    head = TABLE.split("\n")[1]
    names = head.split()
    starts = [head.index(name) for name in names]
    return list(zip(names, starts, starts[1:] + [None]))


def rows():
    """For each call its cells by the names of the columns."""
    for line in TABLE.split("\n")[2:]:
        if line:
            cells = {name: line[a:b].strip() for name, a, b in columns()}
            if cells["folder"] == "=":
                cells["folder"] = cells["root"]
            if cells["link"] in ("=", ""):
                cells["link"] = cells["block"]
            cells["none"] = cells["none"] or "ENOENT"
            cells["inside"] = cells["inside"] or "ENOTDIR"
            yield cells.pop("call"), cells


def meant(cell, kind, mount, who):
    """What is right where CELL stands, in the column KIND."""
    mark = cell[-1] if cell[-1] in MARKS else ""
    word = cell.rstrip(mark) if mark else cell
    read_only, others = MARKS.get(mark, (False, None))
    if mount == "ro" and read_only:
        return "EROFS"
    if who in ("root", "owner") or not others:
        return word
    if mark == "*" and who == "writer" and kind in ("block", "link"):
        return word
    return others


def nodes(mount):
    if os.path.isfile(mount):
        return [("block", mount)]
    gap = sorted(os.listdir(mount + "/gaps"))[0]
    return [("root", mount), ("folder", mount + "/by-partlabel"), ("folder", mount + "/gaps"),
            ("block", mount + "/disk"), ("block", mount + "/p1"), ("block", mount + "/p2"),
            ("block", mount + "/gaps/" + gap), ("text", mount + "/info.json"),
            ("link", mount + "/by-partlabel/odd"), ("none", mount + "/none"),
            ("none", mount + "/gaps/none"), ("inside", mount + "/p2/inside"),
            ("inside", mount + "/info.json/inside")]


def main():
    mount, how, who = sys.argv[1:]
    said = tried = 0
    expected = dict(rows())
    if missing := expected.keys() ^ CALLS.keys():
        sys.exit(f"calls and table differ: {sorted(missing)}")
    for name, cells in expected.items():
        for kind, path in nodes(mount):
            cell = cells[kind]
            if os.path.isfile(mount):
                cell = IN_A_FILE_MOUNT.get(name, cell)
            if who == "owner":
                cell = OF_THE_OWNER.get(name, {}).get(kind, cell)
            right = {meant(part, kind, how, who) for part in cell.split("|")}
            got = answer(name, path)
            tried += 1
            if got not in right:
                said += 1
                print(f"{name} on {path}: {got}, not {' or '.join(sorted(right))}")
    print(f"{tried} answers, {said} of them wrong")
    sys.exit(said > 0)


main()
