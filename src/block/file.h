/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file leaf: what an image's bytes lie in.  Regular files and block devices; later
 * leaves (segments, remote ones) need not have a descriptor.  Thread-safe once open. */
#pragma once

#include "base/pool.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/uio.h>

typedef struct ImFile ImFile;

/* What a write and a flush of a writable file mean.
 *                  through         a write returns             a flush
 *   WRITEBACK      page cache      once in the cache           fdatasync
 *   WRITETHROUGH   page cache      once durable                fdatasync
 *   NONE           O_DIRECT        once the device has it      fdatasync
 *   DIRECTSYNC     O_DIRECT        once durable                fdatasync
 *   UNSAFE         page cache      once in the cache           nothing */
typedef enum {
  IM_CACHE_WRITEBACK,
  IM_CACHE_WRITETHROUGH,
  IM_CACHE_NONE,
  IM_CACHE_DIRECTSYNC,
  IM_CACHE_UNSAFE,
} ImCacheMode;

/* How transfers reach the kernel. */
typedef enum {
  IM_AIO_THREADS,  /* preadv and pwritev in the caller's thread */
  IM_AIO_IO_URING, /* all ranges of a batch by one submission */
  IM_AIO_NATIVE,   /* likewise, by Linux's older calls; of use with O_DIRECT alone */
} ImAio;

typedef struct {
  bool writable;
  ImCacheMode cache;
  ImAio aio;
} ImFileMode;

/* Opens PATH, with O_RDONLY or O_RDWR.  A directory, FIFO, socket or character device is
 * refused without blocking on it; for writing, a block device that is write-protected
 * (EROFS), or that is mounted or below another device (IM_ERROR_LOCKED).  PATH is kept,
 * made absolute, for messages and relative names.  Nothing is written by opening.
 * Requests may have any alignment in every mode. */
ImFile *im_file_open (const char *path, const ImFileMode *mode, GError **error);

/* The same, the rest of the mode being all defaults. */
ImFile *im_file_open_read_only (const char *path, GError **error);
ImFile *im_file_open_writable (const char *path, ImCacheMode cache, GError **error);

/* Makes the file PATH, which must not be there yet, for reading and writing, WRITEBACK.
 * MODE as in open(2). */
ImFile *im_file_create (const char *path, mode_t mode, GError **error);

/* Makes a file in FOLDER that has no name and so vanishes with the last reference,
 * UNSAFE.  Its path is one that tells what it is and leads nowhere. */
ImFile *im_file_create_temporary (const char *folder, GError **error);

/* Was it made so?  Then nobody will ever read what is left in it. */
bool im_file_is_temporary (const ImFile *file);

bool im_file_is_writable (const ImFile *file);

/* Do A and B describe one regular file, or one device, whatever the names? */
bool im_stat_is_same (const struct stat *a, const struct stat *b);

/* Is it what ST describes? */
bool im_file_is_same (const ImFile *file, const struct stat *st);

/* Can writing what ST describes change it?  They are the same, or a loop device and what
 * is below it, or a partition and its disk; other devices above devices are not seen. */
bool im_file_shares_medium (const ImFile *file, const struct stat *st);

ImFile *im_file_ref (ImFile *file);
void im_file_unref (ImFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImFile, im_file_unref)

const char *im_file_path (const ImFile *file);

/* A number that no other file of this process has or will have: what caches know it by.
 */
uint64_t im_file_id (const ImFile *file);

/* Bytes, exactly: as found when it was opened, or as im_file_extend left it; a block
 * device's own size. */
uint64_t im_file_size (const ImFile *file);

/* The descriptor, or -1 for a leaf without one.  Stays the file's. */
int im_file_fd (const ImFile *file);

/* What fstat said when it was opened. */
const struct stat *im_file_stat (const ImFile *file);

/* True where reading a hole is possible at all, that is for regular files. */
bool im_file_has_holes (const ImFile *file);

/* Does it take less space than its size, now?  Then it has holes. */
bool im_file_is_sparse (const ImFile *file);

/* Reads exactly LEN bytes at OFFSET.  What lies past im_file_size reads as zeros; a file
 * that turned out shorter than that since it was opened is an I/O error. */
bool im_file_pread (ImFile *file, void *buf, size_t len, uint64_t offset, GError **error);

/* The same into several buffers.  N ≤ IM_FILE_IOV_MAX. */
#define IM_FILE_IOV_MAX 1024
bool im_file_preadv (ImFile *file, const struct iovec *iov, size_t n, uint64_t offset,
                     GError **error);

/* Bytes of a file, and the buffers that they come from or go to. */
typedef struct {
  const struct iovec *iov;
  size_t n; /* ≤ IM_FILE_IOV_MAX */
  uint64_t offset;
} ImFileRange;

/* Reads each of N ranges as im_file_preadv does, all of them under way together where the
 * engine can.  On failure all buffers are undefined. */
bool im_file_read_batch (ImFile *file, const ImFileRange *ranges, size_t n,
                         GError **error);

/* True when all LEN bytes could be read without waiting for the device; false otherwise,
 * and also on any error, with the buffer's contents undefined. */
bool im_file_pread_nowait (ImFile *file, void *buf, size_t len, uint64_t offset);

/* Is OFFSET in data or in a hole, and how many bytes of the LEN from there are the same?
 * SEEK_DATA and SEEK_HOLE; what cannot be told is data; past the end is a hole.
 * *ret_run ≥ 1 where LEN ≥ 1. */
void im_file_find_run (ImFile *file, uint64_t offset, uint64_t len, bool *ret_data,
                       uint64_t *ret_run);

/* Is every write durable when it returns? */
bool im_file_writes_through (const ImFile *file);

/* Of what size its reads are, by themselves: the blocks of direct I/O, else 1. */
uint32_t im_file_unit (const ImFile *file);

/* Is the page cache passed by, so that every transfer waits for the device? */
bool im_file_is_direct (const ImFile *file);

/* Makes the file SIZE bytes long where it is shorter; what is added reads as zeros.  A
 * block device has the length it has: ENOSPC. */
bool im_file_extend (ImFile *file, uint64_t size, GError **error);

/* Cuts a regular file down to SIZE bytes, or to where its last written byte is if that is
 * more; nobody uses what lies behind. */
bool im_file_shrink (ImFile *file, uint64_t size, GError **error);

/* Writes exactly LEN bytes at OFFSET, inside im_file_size.  DURABLE: as by a flush of
 * these bytes. */
bool im_file_pwrite (ImFile *file, const void *buf, size_t len, uint64_t offset,
                     bool durable, GError **error);

/* The same from several buffers.  N ≤ IM_FILE_IOV_MAX. */
bool im_file_pwritev (ImFile *file, const struct iovec *iov, size_t n, uint64_t offset,
                      bool durable, GError **error);

/* Writes each of N ranges, none of which overlap, as im_file_pwritev does, all of them
 * under way together where the engine can.  On failure any of them may have been written.
 */
bool im_file_write_batch (ImFile *file, const ImFileRange *ranges, size_t n, bool durable,
                          GError **error);

/* True where a write ends in memory, for a flush to make it durable. */
bool im_file_writes_to_memory (const ImFile *file);

/* True when all LEN bytes were written without waiting for the device; false otherwise,
 * and also on any error, with old and new bytes mixed. */
bool im_file_pwrite_nowait (ImFile *file, const void *buf, size_t len, uint64_t offset);

/* [AT, AT + LENGTH) was written as a whole, and nobody is likely to write it again soon:
 * once there is enough of that, a task of POOL has the kernel begin to write it out,
 * where the cache mode is WRITEBACK.  POOL may be NULL: then not. */
void im_file_filled (ImFile *file, uint64_t at, uint64_t length, ImPool *pool);

/* Makes [OFFSET, OFFSET + LENGTH), inside im_file_size, read as zeros.  MAY_UNMAP: it may
 * become a hole.  FAST: ENOTSUP where that would mean writing zeros out. */
bool im_file_write_zeroes (ImFile *file, uint64_t offset, uint64_t length, bool may_unmap,
                           bool fast, GError **error);

/* Has the disk below set space aside for [OFFSET, OFFSET + LENGTH), which reads as
 * before; writing there then needs no more.  True also where it knows no way to do that.
 */
bool im_file_reserve (ImFile *file, uint64_t offset, uint64_t length, GError **error);

/* Gives the range's space back where that can be done; it then reads as zeros or as
 * before.  Fails only for errors of the disk. */
bool im_file_discard (ImFile *file, uint64_t offset, uint64_t length, GError **error);

/* fdatasync.  A failure is remembered: all later calls fail with it, since the kernel may
 * have dropped what it could not write. */
bool im_file_sync (ImFile *file, GError **error);

/* False, with that error, once a sync has failed. */
bool im_file_check_synced (ImFile *file, GError **error);
