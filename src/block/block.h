/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ImBlock: a disk, as a mapping from its bytes to where they are.
 *
 *      exporter ──► im_block_pread ──► im_block_map ──► driver's map ─┐
 *                        │                  ▲                        │ PARENT
 *                        │                  └──── parent's map ◄─────┘
 *                        ├── ZERO ────► memset
 *                        ├── FILE ────► im_file_preadv ──► crypt, where there is one
 *                        ├── CHUNK ───► chunk engine ──► codec
 *                        └── DAMAGED ─► error, or zeros (block/salvage.h)
 *
 * A driver answers one question, map.  The functions here own the contract: they check
 * every range before a driver sees it and every answer after, and no other code does.
 * All are safe from any thread while the caller holds a reference. */
#pragma once

#include "block/chunk.h"
#include "block/damage.h"
#include "block/file.h"
#include "block/table-cache.h"
#include "block/transform.h"
#include <stdatomic.h>

typedef struct ImBlock ImBlock;
typedef struct ImBitmap ImBitmap; /* block/bitmap.h */

typedef enum {
  IM_EXTENT_ZERO,    /* nowhere: zeros */
  IM_EXTENT_FILE,    /* these very bytes of a file, which may be encrypted */
  IM_EXTENT_CHUNK,   /* in a compressed chunk; one extent is within one chunk */
  IM_EXTENT_PARENT,  /* a driver's answer only: ask the parent, at the same offset */
  IM_EXTENT_DAMAGED, /* the table entry makes no sense, or cannot be read */
} ImExtentKind;

/* Where one run of a block's bytes is. */
typedef struct {
  uint64_t offset, length; /* in the block that was asked; length ≥ 1 */
  ImExtentKind kind;
  unsigned depth; /* 0: this image, 1: its parent, … */
  bool allocated; /* some image of the chain holds it, be it as zeros */
  bool stable;    /* keeps its meaning for as long as the block is open */
  /* FILE, and ZERO where a hole of the file was found beneath it: tables of the image set
   * this very place aside, so that writing there allocates nothing. */
  bool placed;
  bool own;     /* FILE: nothing else shares these bytes, they may be overwritten */
  ImFile *file; /* FILE: borrowed from the block */
  uint64_t at;  /* FILE: offset of the first byte in it.  CHUNK: see chunk.
                 * DAMAGED: where in the image the bad entry is; 0: not known */
  /* FILE: NULL, or how these bytes become plain; borrowed from the block.  Who hands out
   * the file's bytes as they are looks here first. */
  const ImTransform *crypt;
  uint64_t crypt_at;  /* with CRYPT: the first byte's position to it */
  ImChunkRef chunk;   /* CHUNK */
  uint32_t within;    /* CHUNK: the first byte's place among the plain ones */
  const char *reason; /* DAMAGED: static text, "not aligned to the cluster size" */
  uint64_t entry;     /* DAMAGED: the entry's value, */
  bool unread;        /* unless it could not be read */
} ImExtent;

typedef enum {
  /* For reading: where the bytes are, by the tables alone. */
  IM_MAP_WHERE = 0,
  /* For block status, SEEK_HOLE, st_blocks: also look for holes beneath FILE extents. */
  IM_MAP_ZEROES = 1 << 0,
  /* Answer from memory or fail with IM_ERROR_WOULD_BLOCK. */
  IM_MAP_NOWAIT = 1 << 1,
} ImMapFlags;

/* What all images of one chain, and all their parents, share.  Outlives them. */
typedef struct {
  ImPool *pool; /* may be NULL */
  ImTableCache *tables;
  ImChunkEngine *chunks;
} ImResources;

/* How a change is to be made; bits. */
typedef enum {
  IM_WRITE_FUA = 1 << 0,       /* durable when the call returns */
  IM_WRITE_MAY_UNMAP = 1 << 1, /* zeroes: the range may become a hole */
  IM_WRITE_FAST = 1 << 2,      /* zeroes: fail with ENOTSUP rather than write them out */
} ImWriteFlags;

/* What a check can find. */
typedef enum {
  IM_PROBLEM_ERROR, /* the structure contradicts itself: bytes are wrong or at risk */
  IM_PROBLEM_LEAK,  /* space that nothing uses is not free */
  IM_PROBLEM_NOTE,  /* worth a line, nothing wrong by itself */
} ImProblemKind;

/* Where a check tells what it finds, on the thread that called it. */
typedef struct {
  void *data;
  /* N problems of one kind, in one line without a full stop. */
  void (*found) (void *data, ImProblemKind kind, uint64_t n, const char *text);
  /* DONE of TOTAL units of the work under way, which may begin anew. */
  void (*progress) (void *data, uint64_t done, uint64_t total);
} ImCheckSink;

/* A driver's side.  Every function may be called from any thread at any time between
 * im_block_init and free. */
typedef struct {
  const char *name;
  /* The caller promises: LENGTH ≥ 1, [OFFSET, OFFSET + LENGTH) lies in the disk, N ≥ 1.
   * The driver promises: on success 1 ≤ *ret_n ≤ N extents, the first beginning at
   * OFFSET, each the next's neighbour, none past OFFSET + LENGTH; they may cover less
   * than all.  A bad table entry is a DAMAGED extent, and so is one that the medium does
   * not give; where it is not known which those are, a failure is taken for one cluster
   * of them.  Every field that the kind gives a meaning is set, depth 0. */
  bool (*map) (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
               ImExtent *extents, size_t n, size_t *ret_n, GError **error);
  /* The I-th file, from 0, that the image consists of beside the one it was opened by;
   * borrowed, NULL behind the last.  NULL: there is none. */
  ImFile *(*further_file) (ImBlock *block, unsigned i);
  /* Facts of this image alone for --info: a floating or full a{sv}, keys in kebab-case;
   * sizes and counts as "t" or "u", addresses as "s" in hex.  NULL: nothing to tell. */
  GVariant *(*describe) (ImBlock *block);
  /* True where holes of the file beneath FILE extents are worth a look with
   * IM_MAP_ZEROES.  NULL: always. */
  bool (*looks_beneath) (ImBlock *block);
  /* Compares all that the image's structure says twice: checksums, counts, flags.  Not
   * its parents.  False: it could not be checked.  NULL: the format says nothing twice.
   */
  bool (*check) (ImBlock *block, const ImCheckSink *sink, GError **error);
  /* The bitmap NAME that this image alone stores, or NULL: without error where it has
   * none of that name, with one where it cannot be relied on.  NULL: the format has none.
   */
  ImBitmap *(*open_bitmap) (ImBlock *block, const char *name, GError **error);
  /* Writing, for blocks whose `writable` is set; else never called.  Contracts as those
   * of im_block_pwrite and its like, ranges checked, LENGTH ≥ 1. */
  bool (*pwrite) (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                  ImWriteFlags flags, GError **error);
  /* As im_block_pwrite_nowait.  NULL: every write may wait. */
  bool (*pwrite_nowait) (ImBlock *block, const void *buf, size_t len, uint64_t offset);
  bool (*write_zeroes) (ImBlock *block, uint64_t offset, uint64_t length,
                        ImWriteFlags flags, GError **error);
  bool (*discard) (ImBlock *block, uint64_t offset, uint64_t length, GError **error);
  bool (*flush) (ImBlock *block, GError **error);
  /* Frees what the driver holds and the block itself.  The core drops the parent. */
  void (*free) (ImBlock *block);
} ImBlockOps;

typedef enum {
  IM_DETECT_ZEROES_OFF,
  IM_DETECT_ZEROES_ON,    /* a write of nothing but zeros is a write_zeroes */
  IM_DETECT_ZEROES_UNMAP, /* … that may make a hole, where discards are passed on */
} ImDetectZeroes;

/* What becomes of certain changes, by the user's choice. */
typedef struct {
  bool pass_discards; /* else a discard does nothing, and zeroes make no holes */
  ImDetectZeroes detect_zeroes;
  bool ignore_flushes; /* what is written vanishes anyway: flushes and FUA do nothing */
} ImWritePolicy;

/* Who refuses certain changes. */
typedef struct {
  /* Can a change of [OFFSET, OFFSET + LENGTH) be one of them? */
  bool (*concerns) (const ImBlock *block, uint64_t length, uint64_t offset);
  /* Asked before each that can; BUF is NULL for zeros.  False refuses it.  What was
   * allowed is done before the next is asked about: two may together be what neither is.
   */
  bool (*allows) (ImBlock *block, const void *buf, uint64_t length, uint64_t offset,
                  GError **error);
} ImWriteGuard;

/* Drivers embed this as their first member and fill it by im_block_init. */
struct ImBlock {
  const ImBlockOps *ops;
  uint64_t size;                 /* bytes, exact; fixed once it is handed out */
  bool writable;                 /* set by the driver's open, const afterwards */
  const char *read_only_because; /* set by the driver's open where the file could be
                                  * written and the image cannot: static text */
  bool encrypted;     /* what is written to it is encrypted; set by the driver's open */
  uint32_t preferred; /* bytes that are good to ask for at once: the cluster */
  ImBlock *parent;    /* owned; NULL: PARENT reads as zeros */
  const ImResources *shared; /* borrowed */
  ImFile *file;              /* a reference: what it was opened from, for reports; NULL:
                              * nothing, as with slices.  Set once, by im_block_set_file */
  ImDamage *damage;          /* borrowed, outlives the block: where damage that reads meet
                              * is noted; NULL: nowhere.  Set by im_block_note_damage */
  uint64_t damage_start;     /* the block's first byte, there */
  bool fills_damage;         /* reads as im_slice_new_filled says */
  ImWritePolicy policy;      /* all off.  Set once, by whoever opened it */
  /* NULL: none, and no claims.  Set once, by im_block_set_guard */
  const ImWriteGuard *guard;
  struct ImClaims *guard_claims; /* one, by the change that concerns it */
  atomic_uint references;
  /* The core's, made when a CHUNK is first read. */
  _Atomic (struct ImReadAhead *) read_ahead;
};

/* Sets up a block of SIZE bytes with one reference.  Takes PARENT's reference. */
void im_block_init (ImBlock *block, const ImBlockOps *ops, uint64_t size, ImBlock *parent,
                    const ImResources *shared);

/* Remembers that BLOCK is the image in FILE.  Whoever opened it calls this, once, before
 * anybody else sees it. */
void im_block_set_file (ImBlock *block, ImFile *file);

/* From now on GUARD is asked.  Likewise. */
void im_block_set_guard (ImBlock *block, const ImWriteGuard *guard);

ImBlock *im_block_ref (ImBlock *block);
void im_block_unref (ImBlock *block);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImBlock, im_block_unref)

/* Where the bytes [OFFSET, OFFSET + LENGTH) are: 1 ≤ *ret_n ≤ N extents from OFFSET on,
 * in order, without gaps, neighbours of one kind merged, perhaps covering less than all
 * (call again).  PARENT never comes out: chains are resolved, with zeros beyond a short
 * parent.  LENGTH ≥ 1.  A stable extent is valid for as long as the block is open; any
 * other within the caller's operation (block/operation.h), or under a claim. */
bool im_block_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
                   ImExtent *extents, size_t n, size_t *ret_n, GError **error);

/* Reads exactly LEN bytes.  Outside the disk is IM_ERROR_RANGE; damage an error for which
 * im_error_is_damage holds, unless the block fills it. */
bool im_block_pread (ImBlock *block, void *buf, size_t len, uint64_t offset,
                     GError **error);

/* The same; where it fails, *RET_DONE bytes that lie before the damage have been read. */
bool im_block_pread_part (ImBlock *block, void *buf, size_t len, uint64_t offset,
                          size_t *ret_done, GError **error);

/* True when BUF was filled without waiting for a device, a decoder or a lock; otherwise
 * BUF is undefined, nothing is said, and im_block_pread tells. */
bool im_block_pread_nowait (ImBlock *block, void *buf, size_t len, uint64_t offset);

/* True where the image was opened for writing and its format can be written. */
bool im_block_is_writable (const ImBlock *block);

/* Each returns when every later read, by whomever, sees the change.  Outside the disk is
 * IM_ERROR_RANGE; a read-only block is EROFS.  After a failure the range holds old or new
 * bytes, or a mix of them, nothing else. */
bool im_block_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
                      ImWriteFlags flags, GError **error);
/* True when BUF was written, as by im_block_pwrite without flags, and nothing had to be
 * waited for; otherwise a part of it may have been, and im_block_pwrite has to follow. */
bool im_block_pwrite_nowait (ImBlock *block, const void *buf, size_t len,
                             uint64_t offset);
/* LENGTH of any size; takes as long as the disk below needs for it. */
bool im_block_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length,
                            ImWriteFlags flags, GError **error);
/* The range's contents do not matter any more: it reads as before or as zeros. */
bool im_block_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error);
/* Every write that returned before this call began is durable when it returns. */
bool im_block_flush (ImBlock *block, GError **error);

/* A slice [OFFSET, OFFSET + SIZE) of BASE as a disk of its own.  Takes its own reference.
 * IM_ERROR_RANGE where it is not inside. */
ImBlock *im_slice_new (ImBlock *base, uint64_t offset, uint64_t size, GError **error);

/* All of BASE, its reads having zeros in the place of damage: of what its tables do not
 * tell or tell wrongly, of chunks that do not decode, of sectors that cannot be read.
 * Maps still say DAMAGED.  Changes go to BASE, and what they have to copy is read there:
 * so damage is never copied as if it were zeros. */
ImBlock *im_slice_new_filled (ImBlock *base);

/* From now on damage that reads of BLOCK meet is noted in DAMAGE, and also that of reads
 * of slices that are made of it later.  Once, before anybody else sees it. */
void im_block_note_damage (ImBlock *block, ImDamage *damage);

/* Two extents describe one run: neighbours, same kind, same place continued. */
bool im_extent_continues (const ImExtent *first, const ImExtent *second);

/* These bytes are their file's own, keep their place in it for as long as the block is
 * open, and are in the page cache, as far as a look at some of them can tell: who sends
 * them from there seldom waits. */
bool im_extent_is_in_page_cache (const ImExtent *extent);

/* So many extents are pinned at a time. */
#define IM_PINS_MAX 64

/* May the bytes of EXTENTS, N neighbours, be sent from where they are decoded?  They are
 * in chunks that keep their place for as long as the block is open; and of no chunk is so
 * little wanted that twice as much would be held. */
bool im_extents_are_pinnable (const ImExtent *extents, size_t n);

/* Reads pinnable EXTENTS of BLOCK, with the bytes left in the chunk engine: RET_PINS[i]
 * are those of EXTENTS[i].  The caller lets go of each (im_chunk_unpin), and bounds what
 * it holds.  Damage is an error, also where the block fills it. */
bool im_block_pin (ImBlock *block, const ImExtent *extents, size_t n,
                   ImChunkPin *ret_pins, GError **error);
/* The same where all is decoded already.  False: nothing is pinned, and nothing said. */
bool im_block_pin_nowait (ImBlock *block, const ImExtent *extents, size_t n,
                          ImChunkPin *ret_pins);

/* Sets *ret_bytes to an estimate of what the disk occupies, from the extents of ZEROES
 * maps; bounded work: after MAX_CALLS maps the rest is counted as allocated. */
bool im_block_allocated_size (ImBlock *block, unsigned max_calls, uint64_t *ret_bytes,
                              GError **error);
